"""NetWarp (Tables 4.1 and 5.6): features of the frame before, moved along the optical flow, join the target's.

B clips of two frames of H x W pixels, C channels of the last map of the backbone, M of what the head mixes, h x w
features at 1/8 of the frame.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from .configuration_dilated import NetWarpConfig
from .heads_dilated import ConvNorm
from .modeling_dilated import DilatedFeatures, DilatedVideoModel
from .optical_flow import FLOWS, Flow, resize_flow, shades, warp
from .video_session import State

NUM_FLOW_INPUTS = 11  # flow, both frames and their difference


class FlowCorrection(nn.Module):
    """What NetWarp makes of a flow with a look at the frames. It ends in a ReLU: no flow to the left or up (released).

    Args:
        config: of the model.
    """

    def __init__(self, config: NetWarpConfig):
        super().__init__()
        widths = [NUM_FLOW_INPUTS, *config.flow_hidden_sizes, 2]
        self.layers = nn.ModuleList(ConvNorm(a, b, 3, bias=False) for a, b in pairwise(widths))
        self.output = ConvNorm(4, 2, 3, bias=False)

    def forward(self, flow: Tensor, current: Tensor, previous: Tensor) -> Tensor:
        """Flow [B, 2, H, W] and frames [B, 3, H, W] -> flow [B, 2, H, W]."""
        current, previous = 255 * shades(current), 255 * shades(previous)  # as the released code shows them
        seen = torch.cat([flow, current, previous, previous - current], dim=1)
        for layer in self.layers:
            seen = layer(seen)
        return self.output(torch.cat([flow, seen], dim=1))


class NetWarpForVideoSemanticSegmentation(DilatedVideoModel):
    """NetWarp with the head of PSPNet or OCRNet. A frame without one before it is segmented by that network.

    Attributes:
        flow: a `Flow`; that of `config.flow` unless another is put in its place. It is no part of the weights.

    Example:

    ```python
    >>> model = NetWarpForVideoSemanticSegmentation(NetWarpConfig(num_labels=124)).eval()
    >>> model.flow = RaftFlow(raft_small(weights=Raft_Small_Weights.DEFAULT), num_updates=12)
    >>> session = model.new_session()
    >>> for frame in torch.randn(3, 1, 3, 480, 853):
    ...     logits = model.segment_frame(frame, session)
    ```
    """

    config: NetWarpConfig  # ty: ignore[incompatible-mutable-override]  as in transformers
    clip_arguments = ("flow",)

    def __init__(self, config: NetWarpConfig):
        super().__init__(config)
        channels: list[int] = list(self.encoder.channels)
        self.flow_correction = FlowCorrection(config)
        self.feature_weights = nn.Parameter(torch.empty(2, channels[-1]))
        self.mixed_weights = nn.Parameter(torch.empty(2, self.head.num_mixed))
        self.flow: Flow = FLOWS[config.flow]()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As in the parent; at first nothing of the previous frame counts."""
        super()._init_weights(module)
        if module is self:
            for weights in (self.feature_weights, self.mixed_weights):
                init.zeros_(weights)
                init.ones_(weights[0])

    def remember(self, features: DilatedFeatures, frames: Tensor) -> State:
        """The frame [B, 3, H, W], its features [B, C, h, w] and what the head mixes of them [B, M, h, w]."""
        mixed = self.head.mix(features.prepared, self._context(features))
        return frames.clone(), features.maps[-1], mixed  # the caller may write into its frame

    def combine(self, features: DilatedFeatures, own: State, references: Sequence[State]) -> Tensor:
        """Logits of the target, with the previous frame if there is one."""
        if not references:
            return self.head.classify(own[2])
        return self._combine_along(self.flow(own[0], references[0][0]), features, own, references[0])

    def transformed_flow(self, flow: Tensor, current: Tensor, previous: Tensor) -> Tensor:
        """The flow [B, 2, H, W] that features are moved along."""
        return self.flow_correction(flow, current, previous)

    def _combine_along(self, flow: Tensor, features: DilatedFeatures, own: State, previous: State) -> Tensor:
        flow = self.transformed_flow(flow, own[0], previous[0])
        moved = self._add_warped(features.maps[-1], previous[1], flow, self.feature_weights)
        prepared = self.head.prepare(moved)
        mixed = self.head.mix(prepared, self.head.context(prepared, features.scores))
        return self.head.classify(self._add_warped(mixed, previous[2], flow, self.mixed_weights))

    def _add_warped(self, maps: Tensor, previous: Tensor, flow: Tensor, weights: Tensor) -> Tensor:
        if self.config.compat == "vspw":
            flow = F.interpolate(flow, size=maps.shape[-2:], mode="nearest")
            warped = warp(previous, flow, align_corners=False)
        else:
            warped = warp(previous, resize_flow(flow, maps.shape[-2:]))
        own, other = weights[:, :, None, None]
        return own * maps + other * warped

    def _auxiliary_loss(self, auxiliary_logits: Tensor, labels: Tensor) -> Tensor:
        """Of the target alone with the head of PSPNet; of both frames with that of OCRNet, whose labels the released
        code exchanges."""
        if self.config.head == "ppm":
            return self._cross_entropy(auxiliary_logits[:, -1:], labels[:, -1:])
        exchanged = self.config.compat == "vspw" and labels.shape[1] == 2
        return self._cross_entropy(auxiliary_logits, labels.flip(1) if exchanged else labels)

    def _logits_of_clip(self, features: DilatedFeatures, clip: Tensor, flow: Tensor | None = None) -> Tensor:
        """As in the parent, of the target. `flow`, an argument of `forward`: [B, 2, H, W] that is known beforehand.

        Raises:
            ValueError: a flow of another shape.
        """
        target = features.of_frame(-1, clip.shape[1])
        own = self.remember(target, clip[:, -1])
        if clip.shape[1] == 1:
            return self.combine(target, own, ())[:, None]
        previous = self.remember(features.of_frame(0, clip.shape[1]), clip[:, 0])
        expected = [len(clip), 2, *clip.shape[-2:]]
        if flow is not None and list(flow.shape) != expected:
            raise ValueError(f"flow must be {expected}. Received: {list(flow.shape)}")
        flow = self.flow(clip[:, -1], clip[:, 0]) if flow is None else flow
        return self._combine_along(flow, target, own, previous)[:, None]


__all__ = ["NetWarpForVideoSemanticSegmentation"]
