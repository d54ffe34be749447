"""What becomes of the segmenter's logits: they are enlarged, and judged.

B images, K classes, h x w logits, H x W labels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def enlarge(logits: Tensor, size: Sequence[int]) -> Tensor:
    """[B, K, h, w] -> [B, K, *size], in float32.

    Bilinear with the corners on the corners, as Caffe's Interp layer with factor 8: an image side of 8 n + 1 pixels
    (321, 401) has n + 1 logits (41, 51), each of which stands on a pixel.
    """
    return F.interpolate(logits.float(), size=tuple(size), mode="bilinear", align_corners=True)


def segmentation_loss(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Cross-entropy of the enlarged logits: the mean over an image's valid pixels, averaged over images.

    In the released code a batch is one image and ten are accumulated, so that each image counts the same however much
    of it is ignored. An image without a valid pixel counts as 0.

    Args:
        logits: [B, K, h, w]
        labels: [B, H, W], class ids and `ignore_index`.
        ignore_index: of pixels to leave out.

    Raises:
        ValueError: labels that are not [B, H, W], no whole numbers, or no class.
    """
    _check(logits, labels, ignore_index)
    losses = F.cross_entropy(
        enlarge(logits, labels.shape[-2:]), labels.long(), ignore_index=ignore_index, reduction="none"
    )
    num_valid = (labels != ignore_index).sum(dim=(1, 2))
    return (losses.sum(dim=(1, 2)) / num_valid.clamp(min=1)).mean()


def _check(logits: Tensor, labels: Tensor, ignore_index: int) -> None:
    if labels.ndim != 3 or len(labels) != len(logits) or labels.is_floating_point():
        raise ValueError(
            f"labels must be whole numbers of shape [{len(logits)}, height, width]. "
            f"Received: {labels.dtype} of shape {list(labels.shape)}"
        )
    if torch.compiler.is_compiling():
        return
    num_labels = logits.shape[1]
    wrong = labels[(labels != ignore_index) & ((labels < 0) | (labels >= num_labels))]
    if len(wrong):
        raise ValueError(
            f"labels must be from 0 to {num_labels - 1}, or {ignore_index} where a pixel is to be ignored. "
            f"Received: {wrong.unique()[:10].tolist()}"
        )
