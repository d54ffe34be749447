"""Training the pixel affinities of AffinityNet (thesis section 3.4.4)."""
