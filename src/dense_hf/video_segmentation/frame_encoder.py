"""The encoder that every frame goes through: the Mix Transformer of transformers, or any backbone, with four maps.

N frames, C_i channels of map i.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SegformerConfig, SegformerModel
from transformers.backbone_utils import load_backbone
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.conditional_detr.modeling_conditional_detr import replace_batch_norm
from transformers.models.segformer.modeling_segformer import (
    SegformerDepthWiseConv,
    SegformerSequenceReduction,
    SegformerStage,
)
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_video import VideoSegmentationConfig

STRIDES = [4, 8, 16, 32]  # of the maps, finest first
PROBE_SIDE = 128  # pixels of the frame by which the strides of a backbone are found


class FrameReduction(SegformerSequenceReduction):
    """Its parent, whose convolution gets the tokens as a map with channels last.

    The parent's view of the tokens of a single frame says so only if PyTorch does not look at the batch, and it does:
    on a CPU, the tokens were copied to channels first and back. Tokens of 120 x 216 with 256 channels take 7 ms in the
    depthwise convolution, not 58 (one thread, fp32), and the activation behind it half the time.

    Where a CPU has AMX, PyTorch 2.14 is wrong by more than the largest number in bfloat16 when a kernel of 8 x 8 that
    does not overlap has fewer than 32 channels (with 32 and more it is right). Such a convolution is done as what it
    is, a linear layer of patches.
    """

    def forward(self, hidden_states: Tensor, height: int, width: int) -> Tensor:
        """[N, h w, C] -> [N, h' w', C]."""
        maps, convolution = as_map(hidden_states, height, width), self.sequence_reduction
        if maps.shape[1] < 32 and _in_bfloat16_on_cpu(maps):
            patches = F.unfold(maps, convolution.kernel_size, stride=convolution.stride).transpose(1, 2)
            return self.layer_norm(F.linear(patches, convolution.weight.flatten(1), convolution.bias))
        return self.layer_norm(convolution(maps).flatten(2).transpose(1, 2))


def _in_bfloat16_on_cpu(maps: Tensor) -> bool:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else maps.dtype
    return maps.device.type == "cpu" and dtype == torch.bfloat16


class FrameDepthWiseConv(SegformerDepthWiseConv):
    """Its parent, as `FrameReduction`."""

    def forward(self, hidden_states: Tensor, height: int, width: int) -> Tensor:
        """[N, h w, C] -> [N, h w, C]."""
        return self.dwconv(as_map(hidden_states, height, width)).flatten(2).transpose(1, 2)


class FrameStage(SegformerStage):
    """Its parent, without a copy of the map that comes out: channels stay last."""

    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        """[N, C_i-1, h_i-1, w_i-1] -> [N, C_i, h_i, w_i]."""
        hidden_states, height, width = self.patch_embeddings(hidden_states)
        for block in self.blocks:
            hidden_states = block(hidden_states, height, width, **kwargs)
        return as_map(self.layer_norm(hidden_states), height, width)


OURS = {
    SegformerDepthWiseConv: FrameDepthWiseConv,
    SegformerSequenceReduction: FrameReduction,
    SegformerStage: FrameStage,
}


def as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """[N, h w, C] -> a view [N, C, h, w] whose strides say that channels come last."""
    return tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)


class FrameEncoder(SegformerModel):
    """[`SegformerModel`] that always returns the maps of its stages, with the epsilons it was trained with.

    The parent collects maps through hooks that it installs in the first call, which `torch.compile` cannot follow. And
    it leaves all norms at 1e-5, while those of blocks and stages belong to `layer_norm_eps` (1e-6).
    """

    def __init__(self, config: SegformerConfig):
        super().__init__(config)
        set_layer_norm_eps(self)
        for module in self.modules():  # subclasses that have no state of their own
            module.__class__ = OURS.get(type(module), type(module))

    @merge_with_config_defaults
    @capture_outputs
    def forward(self, pixel_values: Tensor, **kwargs) -> BaseModelOutput:
        """Frames [N, 3, height, width] -> `hidden_states`: maps [N, C_i, h_i, w_i], 1/4 to 1/32 of the frame."""
        maps = []
        if pixel_values.device.type == "cpu":
            pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            pixel_values = stage(pixel_values, **kwargs)
            maps.append(pixel_values)
        return BaseModelOutput(last_hidden_state=pixel_values, hidden_states=tuple(maps))


def set_layer_norm_eps(encoder: SegformerModel) -> None:
    """Give the norms of blocks and stages `layer_norm_eps` of the config."""
    for name, module in encoder.named_modules():
        is_shallow = "patch_embeddings" in name or "sequence_reduction" in name
        if isinstance(module, nn.LayerNorm) and not is_shallow:
            module.eps = encoder.config.layer_norm_eps


def build_encoder(config: VideoSegmentationConfig) -> nn.Module:
    """The encoder of `config`, randomly initialised.

    Raises:
        ValueError: a backbone whose maps are not those at 1/4, 1/8, 1/16 and 1/32 of the frame.
    """
    backbone_config: Any = config.backbone_config
    if backbone_config is None:
        return FrameEncoder(config.encoder_config)  # ty: ignore[invalid-argument-type]  a config by now
    _check_strides(config)
    backbone = load_backbone(config)
    if config.freeze_backbone_batch_norm:
        # timm fuses activations into its norms, so it must freeze them itself
        if backbone_config.model_type == "timm_backbone":
            backbone.freeze_batch_norm_2d()
        else:
            with torch.no_grad():  # or the copied numbers keep a graph, and the model cannot be deep-copied
                replace_batch_norm(backbone)
    return backbone


def _check_strides(config: VideoSegmentationConfig) -> None:
    """A backbone does not say its strides, so one without memory is asked for the sizes of its maps."""
    with torch.device("meta"), torch.no_grad():
        maps = load_backbone(config).eval()(torch.empty(1, 3, PROBE_SIDE, PROBE_SIDE)).feature_maps
    strides = [PROBE_SIDE / one.shape[-1] for one in maps]
    if strides != STRIDES or any(one.ndim != 4 or one.shape[-2] != one.shape[-1] for one in maps):
        raise ValueError(
            "backbone_config must give four maps, at 1/4, 1/8, 1/16 and 1/32 of the frame (out_indices says which). "
            f"Received: {', '.join(f'1/{stride:g}' for stride in strides) or 'none'}"
        )


def map_widths(encoder: Any) -> list[int]:
    """C_i of the four maps, finest first."""
    return list(encoder.config.hidden_sizes if isinstance(encoder, FrameEncoder) else encoder.channels)
