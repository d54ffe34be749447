"""MRCFA configuration (thesis chapter 5; the defaults are those of the released code)."""

import math
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict

from .configuration_video import VideoSegmentationConfig

CHOICES = {
    "importance": ("topk", "mean"),
    "mining": ("affinity", "feature_pyramid", "video_swin"),
    "affinity_convolution": ("2d", "3d"),
    "affinity_norm": ("token", "reference"),
    "reference_stride": (16, 32),
    "num_scales": (1, 2, 3),
}


@strict
class MRCFAConfig(VideoSegmentationConfig):
    r"""
    Configuration of [`MRCFAForVideoSemanticSegmentation`]. The fields that it shares with CFFM are described in
    [`VideoSegmentationConfig`].

    Args:
        token_selection_ratio (`float`, defaults to 0.5):
            The thesis' p (Table 5.2): which part of a reference's tokens is kept. Checkpoints do not tell it.
        importance (`str`, defaults to `"topk"`):
            How important a reference token is: the sum of its `importance_topk` largest affinities to the target, or
            with `"mean"` their average ("Average" of Table 5.5).
        importance_topk (`int`, defaults to 5):
            The thesis' n (Table 5.5), at most as many as the target has tokens. Checkpoints do not tell it.
        num_scales (`int`, defaults to 3): The thesis' L (Table 5.3): maps at 1/32, then 1/16, then 1/8.
        use_sar (`bool`, defaults to `True`), use_maa (`bool`, defaults to `True`):
            Single-scale affinity refinement and multi-scale affinity aggregation (Table 5.4). Without the one, raw
            affinities are aggregated; without the other, refined ones are enlarged and added.
        affinity_depth (`int`, defaults to 1):
            Convolutions in each block of the affinity decoder. 2 in the released code for MiT-B1 and in all of its
            ablations.
        affinity_width (`int`, defaults to 1):
            Channels between the blocks of the affinity decoder. 2 in the released code for MiT-B1, 1 in its ablations.
        affinity_kernel_sizes (`list[int]`, defaults to `(3, 5, 5)`):
            Side of the first convolution at 1/32, 1/16 and 1/8. `(3, 3, 5)` for MiT-B1; all others have 3.
        affinity_convolution (`str`, defaults to `"2d"`):
            `"3d"` also convolves along the selected tokens (remark at Eq. 5.4), with cubic kernels.
        affinity_norm (`str`, defaults to `"token"`):
            Over what the norms of the affinity decoder go. As released, each token's map is normalized on its own, so
            that all selected tokens have the same mean and spread, whatever their affinities were. `"reference"`, a
            deviation from Eq. 5.5, normalizes the maps of a reference's tokens together: a token that fits nowhere
            stays low everywhere. `"3d"` convolutions always do.
        affinity_scale (`float`, defaults to 1.0):
            Refined affinities times this are what the softmax over the tokens of a reference sees (deviation from
            Eq. 5.7: greater is sharper).
        reference_stride (`int`, defaults to 32):
            Pixels a side of the image that a token of a reference stands for. The parameters in Table 5.7
            (Cityscapes) fit 16 only; the release has that grid, but no configuration that uses it.
        mining (`str`, defaults to `"affinity"`):
            `"feature_pyramid"` is the baseline of Table 5.4, `"video_swin"` that of Table 5.9. Neither was released:
            see `feature_pyramid_mrcfa` and `video_swin_mrcfa` for what stands here.
        num_swin_layers (`int`, defaults to 2): Layers of the Video Swin Transformer (Table 5.9).
        num_swin_heads (`int`, defaults to 8): Their heads.
        swin_window_size (`int`, defaults to 7): Side m of their windows in feature pixels (Eq. 5.12).
    """

    model_type = "mrcfa"
    attribute_map = {"hidden_size": "decoder_hidden_size"}
    keys_to_ignore_at_inference = [*VideoSegmentationConfig.keys_to_ignore_at_inference, "retrieved_logits"]
    backbone_defaults: ClassVar[dict[str, dict[str, Any]]] = {
        "b0": {"token_selection_ratio": 0.8},
        "b1": {"affinity_depth": 2, "affinity_width": 2, "affinity_kernel_sizes": [3, 3, 5]},
    }

    token_selection_ratio: float | int = 0.5
    importance: str = "topk"
    importance_topk: int = 5
    num_scales: int = 3
    use_sar: bool = True
    use_maa: bool = True
    affinity_depth: int = 1
    affinity_width: int = 1
    affinity_kernel_sizes: list[int] | tuple[int, ...] = (3, 5, 5)
    affinity_convolution: str = "2d"
    affinity_norm: str = "token"
    affinity_scale: float | int = 1.0
    reference_stride: int = 32
    mining: str = "affinity"
    num_swin_layers: int = 2
    num_swin_heads: int = 8
    swin_window_size: int = 7

    def find_problems(self) -> list[str]:
        """As in the parent, and what MRCFA adds."""
        problems = super().find_problems()
        problems += [
            f"{name} must be one of {', '.join(map(repr, choices))}, received {getattr(self, name)!r}"
            for name, choices in CHOICES.items()
            if getattr(self, name) not in choices
        ]
        if not 0 < self.token_selection_ratio <= 1:
            problems.append(f"token_selection_ratio must be in (0, 1], received {self.token_selection_ratio}")
        if not 0 < self.affinity_scale < math.inf:
            problems.append(f"affinity_scale must be positive, received {self.affinity_scale}")
        kernels = list(self.affinity_kernel_sizes)
        if len(kernels) < self.num_scales or any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
            problems.append(
                f"affinity_kernel_sizes must have an odd size for each of {self.num_scales} scales, received {kernels}"
            )
        if not self.use_sar and (not self.use_maa or self.num_scales == 1):
            problems.append(
                "with use_sar=False there must be several scales to aggregate, received "
                f"use_maa={self.use_maa}, num_scales={self.num_scales}"
            )
        if self.mining == "video_swin" and self.decoder_hidden_size % self.num_swin_heads:
            problems.append(
                f"decoder_hidden_size ({self.decoder_hidden_size}) must be a multiple of num_swin_heads, "
                f"received {self.num_swin_heads}"
            )
        return problems


__all__ = ["MRCFAConfig"]
