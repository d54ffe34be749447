"""Metrics that keep sums, not pictures."""
