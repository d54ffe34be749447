"""The folder that `evaluate.load` takes; the numbers come from `dense_hf.metrics.VideoConsistency`."""
