"""Many methods, the same data, one budget: what `dense-hf compare` and `scripts/run_table.py` do."""
