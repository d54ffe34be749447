"""Loss of a clip: every map against its labels at full resolution, one map at a time.

B clips, T frames, M maps of the target, K labels, h x w logits, H x W labels.
"""

from typing import Any

import torch
from torch import Tensor

from .configuration_video import VideoSegmentationConfig
from .enlarged_cross_entropy import enlarged_cross_entropy


def clip_loss(
    config: VideoSegmentationConfig, auxiliary_logits: Tensor, target_logits: Tensor | None, labels: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the target's maps plus `auxiliary_loss_weight` times that of the single frames.

    Means run over all pixels of all maps, ignored ones included (released code).

    Args:
        config: Weights and the label that is ignored.
        auxiliary_logits: [B, T, K, h, w], each frame judged by its own labels.
        target_logits: [B, M, K, h, w], all judged by the labels of the target, the last frame. None for clips that
            are segmented frame by frame; their loss is that of the frames alone, with weight 1.
        labels: [B, T, H, W].

    Returns:
        The loss, and its terms before they are weighted: `loss_auxiliary` and, with maps of the target, `loss_target`.
    """
    if config.auxiliary_loss_frames == "target":
        auxiliary_loss = mean_cross_entropy(auxiliary_logits[:, -1:], labels[:, -1:], config)
    else:
        auxiliary_loss = mean_cross_entropy(auxiliary_logits, labels, config)
    if target_logits is None:
        return auxiliary_loss, {"loss_auxiliary": auxiliary_loss}
    target_labels = labels[:, -1:].expand(-1, target_logits.shape[1], -1, -1)
    target_loss = mean_cross_entropy(target_logits, target_labels, config)
    terms = {"loss_target": target_loss, "loss_auxiliary": auxiliary_loss}
    return target_loss + config.auxiliary_loss_weight * auxiliary_loss, terms


def mean_cross_entropy(logits: Tensor, labels: Tensor, config: Any) -> Tensor:
    """[B, M, K, h, w] against [B, M, H, W]: logits enlarged to the labels' size, mean over all pixels.

    Of `config`, which may be that of any model, `semantic_loss_ignore_index` is asked.

    One map after the other, see [`enlarged_cross_entropy`]: those of a clip are many.
    """
    pairs = zip(logits.flatten(0, 1), labels.flatten(0, 1))
    sums = [enlarged_cross_entropy(one, truth, config.semantic_loss_ignore_index) for one, truth in pairs]
    return torch.stack(sums).sum() / labels.numel()
