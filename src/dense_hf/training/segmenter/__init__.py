"""Training the segmenter on pseudo labels (thesis section 3.3.3)."""
