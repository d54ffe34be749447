"""Training the classifier of MCIS (thesis chapter 3)."""
