"""What the segmentation metrics take for a label map."""

import sys

import numpy as np


def as_labels(name: str, values: object) -> np.ndarray:
    """Integers of any shape as an array; tensors of any device are taken too.

    Args:
        name: of the argument, for the message.
        values: array, tensor or nested lists of whole numbers.

    Raises:
        ValueError: for anything else: scores or floats are not labels.
    """
    torch = sys.modules.get("torch")  # who has no torch has no tensor
    try:
        is_tensor = torch is not None and isinstance(values, torch.Tensor)
        labels = values.numpy(force=True) if is_tensor else np.asarray(values)
    except (TypeError, ValueError) as error:  # ragged lists
        raise ValueError(f"{name} must be label maps. Received: {error}") from error
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{name} must be label maps of whole numbers. Received: {labels.dtype} {list(labels.shape)}")
    return labels
