"""Judge a classifier on images with labels, with any number of processes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..data.images import open_image
from ..metrics.average_precision import mean_average_precision
from .evaluations import evaluation_mode
from .finite_outputs import judging, require_finite
from .shares import each_of_share

if TYPE_CHECKING:
    from ..data.weak_folder import WeakImage


def evaluate_classification(
    model: PreTrainedModel,
    processor: Any,
    images: Sequence["WeakImage"],
    batch_size: int = 8,
    progress: bool = True,
    description: str = "Classifying",
) -> dict[str, float]:
    """Basic loss and mean average precision of single images.

    Batches are the same whatever the number of processes, each takes every n-th of them, and all scores are gathered:
    the numbers do not depend on the number of processes.

    Args:
        model: on its device; `logits` [B, K] of `pixel_values` [B, 3, H, W]. All processes hold the same weights.
        processor: prepares images.
        images: the same in every process; at least one must have a class.
        batch_size: images per forward pass.
        progress: whether process 0 shows a bar.
        description: text of the bar.

    Returns:
        The same in every process: `loss`, `mean_average_precision` (over the classes that occur) and `num_images`.

    Raises:
        InvalidDataError: an image that cannot be used.
        ValueError: outputs of the model that are not finite.
    """
    scores: list[tuple[int, np.ndarray]] = []
    with evaluation_mode(model), torch.no_grad():
        for start in each_of_share(range(0, len(images), batch_size), description, "batch", progress):
            pictures = [open_image(image.path) for image in images[start : start + batch_size]]
            pixels = processor(pictures, return_tensors="pt")["pixel_values"].to(model.device)
            logits = model(pixels).logits.float().cpu()
            for image, row in zip(images[start:], logits):
                with judging(image.path, model):
                    require_finite(row)
            scores.append((start, logits.numpy()))
    by_start = dict(gather_object(scores))
    logits = np.concatenate([by_start[start] for start in sorted(by_start)])
    labels = np.zeros_like(logits)
    for row, image in zip(labels, images):
        row[list(image.labels)] = 1
    loss = F.multilabel_soft_margin_loss(torch.from_numpy(logits).double(), torch.from_numpy(labels).double())
    return {
        "loss": loss.item(),
        "mean_average_precision": mean_average_precision(logits, labels),
        "num_images": len(images),
    }
