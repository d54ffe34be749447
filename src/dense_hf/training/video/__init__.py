"""Training on clips of video (thesis chapters 4 and 5)."""
