"""From results.json and a run to model cards, tables and HTML."""
