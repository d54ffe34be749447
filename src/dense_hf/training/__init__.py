"""The shared part of the training scripts."""
