"""CFFM (thesis chapter 4): coarse-to-fine feature mining for video semantic segmentation.

B clips, H x W feature pixels (1/8 of the image), E `decoder_hidden_size`, N mining layers, L windows, c cells a side
that a reference has in a window, K labels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .configuration_cffm import CFFMConfig
from .context_layout_cffm import ContextLayout, context_layout
from .frame_reuse import Maps
from .mining_cffm import CrossFrameMiningLayer, WindowPooling
from .position_bias_cffm import ContextPositionBias
from .video_segmenter import FrameFeatures, VideoSegmenterModel
from .video_session import State


class CFFMForVideoSemanticSegmentation(VideoSegmenterModel):
    """CFFM: a clip in, classes of its last frame out; or a video, frame by frame.

    Example:

    ```python
    >>> import torch
    >>> from dense_hf import CFFMConfig, CFFMForVideoSemanticSegmentation

    >>> model = CFFMForVideoSemanticSegmentation(CFFMConfig.from_backbone("b1", num_labels=124)).eval()
    >>> model(torch.randn(1, 4, 3, 480, 864)).logits.shape
    torch.Size([1, 124, 120, 216])
    >>> session = model.new_session()
    >>> for frame in torch.randn(12, 1, 3, 480, 864):
    ...     logits = model.segment_frame(frame, session)
    ```
    """

    config: CFFMConfig  # ty: ignore[incompatible-mutable-override]  as in transformers
    _no_split_modules = ["FrameStage", "FrameDecoder", "CrossFrameMiningLayer"]

    def __init__(self, config: CFFMConfig):
        super().__init__(config)
        self.mining_layers = nn.ModuleList(CrossFrameMiningLayer(config) for _ in range(config.num_mining_layers))
        if config.num_mining_layers:
            self.dropout = nn.Dropout2d(config.classifier_dropout_prob)
            num_labels: int = config.num_labels  # ty: ignore[invalid-assignment]  always a number
            self.classifier = nn.Conv2d(2 * config.decoder_hidden_size, num_labels, kernel_size=1)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Pooling starts as the mean, biases near zero (released code)."""
        super()._init_weights(module)
        if isinstance(module, WindowPooling):
            init.constant_(module.weight, 1 / module.weight.numel())
            init.zeros_(module.bias)
        elif isinstance(module, ContextPositionBias):
            init.zeros_(module.window)
            init.trunc_normal_(module.surroundings, std=0.02)
        elif isinstance(module, nn.ParameterList):
            for table in module.parameters():
                init.trunc_normal_(table, std=0.02)

    @property
    def uses_references(self) -> bool:
        """Not the SegFormer baseline, which has no mining layers."""
        return self.config.num_mining_layers > 0

    def remember(self, features: FrameFeatures, roles: Sequence[int]) -> tuple[State, ...]:
        """For each role the keys and values [B, L * c * c, 2E] of every layer: references are not updated."""
        layout, pixels = self._layout(features.halved), _to_pixels(features.halved)
        layers = [
            layer.reference_tokens(pixels, layout, roles)  # ty: ignore[not-callable]  a method
            for layer in self.mining_layers
        ]
        return tuple(tuple(tokens[index] for tokens in layers) for index in range(len(roles)))

    def mine(self, features: FrameFeatures, references: Sequence[State]) -> tuple[Tensor, list[Tensor]]:
        """N layers of mining, then a classifier over what came in and what came out."""
        layout, pixels = self._layout(features.halved), _to_pixels(features.halved)
        for index, layer in enumerate(self.mining_layers):
            pixels = layer(pixels, layout, *(state[index] for state in references))
        mined = pixels.transpose(1, 2).unflatten(2, features.halved.shape[-2:])
        return self.classifier(self.dropout(torch.cat([features.halved, mined], dim=1))), []

    def _references_of_clip(
        self, features: FrameFeatures, target: FrameFeatures, num_frames: int
    ) -> tuple[State, ...] | None:
        if self.config.motional_contexts:
            return super()._references_of_clip(features, target, num_frames)
        return self.remember(target, range(self.config.num_reference_frames)) if self.uses_references else None

    def step(
        self, frame: Tensor, references: tuple[State, ...] | None, maps: Maps | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """As in the parent; with static contexts every frame is its own reference."""
        if self.config.motional_contexts:
            return super().step(frame, references, maps)
        return self(frame[:, None], output_auxiliary_logits=False).logits, ((),) * self.config.num_reference_frames

    def _layout(self, halved: Tensor) -> ContextLayout:
        height, width = halved.shape[-2:]
        return context_layout(height, width, self.config.window_size, self.config.context_sources, halved.device)


def _to_pixels(features: Tensor) -> Tensor:
    """[B, E, H, W] -> [B, H * W, E]."""
    return features.flatten(2).transpose(1, 2)


__all__ = ["CFFMForVideoSemanticSegmentation"]
