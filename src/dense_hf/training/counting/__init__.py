"""Training counters (thesis chapter 2)."""
