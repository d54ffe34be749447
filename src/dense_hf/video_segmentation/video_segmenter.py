"""What CFFM and MRCFA share: encoder and decoder for every frame, clips and their loss, frame by frame use.

B clips (or videos), T frames of a clip, oldest first and the target last, K labels, E `decoder_hidden_size`, h x w
features at 1/4 of the image, R reference frames. A subclass says what a reference frame leaves behind (`remember`) and
how the target uses it (`mine`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import filter_output_hidden_states
from transformers.utils.generic import can_return_tuple

from .clip_loss import clip_loss
from .configuration_video import VideoSegmentationConfig
from .frame_decoder import FrameDecoder, crop, halve, pad, resize
from .frame_encoder import STRIDES, build_encoder, map_widths
from .frame_reuse import Maps
from .video_session import State
from .video_streaming import StreamingModel, VideoSegmenterOutput


class FrameFeatures(NamedTuple):
    """Features of N frames.

    Attributes:
        maps: Encoder maps [N, C_i, h_i, w_i] at 1/4, 1/8, 1/16 and 1/32 of the image.
        fused: [N, E, h, w], what the per-frame classifier reads.
        halved: [N, E, h // 2, w // 2].
    """

    maps: tuple[Tensor, ...]
    fused: Tensor
    halved: Tensor

    def of_frame(self, index: int, num_frames: int) -> "FrameFeatures":
        """Features [B, ...] of one frame of B clips that lie one after the other."""

        def pick(features: Tensor) -> Tensor:
            return features.unflatten(0, (-1, num_frames))[:, index]

        return FrameFeatures(tuple(map(pick, self.maps)), pick(self.fused), pick(self.halved))


class VideoSegmenterModel(StreamingModel, PreTrainedModel):
    """Base of models that segment the last frame of a clip with the help of the frames before it."""

    config: VideoSegmentationConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("video",)  # ty: ignore[invalid-assignment]  as the models of transformers say it
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _no_split_modules = ["FrameStage", "FrameDecoder"]
    _supports_sdpa = True

    size_divisor = 1  # images are padded to multiples of it

    def __init__(self, config: VideoSegmentationConfig):
        super().__init__(config)
        self.encoder = build_encoder(config)
        self.decoder = FrameDecoder(config, map_widths(self.encoder))
        if config.backbone_config is not None:
            self.size_divisor = STRIDES[-1]  # backbones differ in how they round the sides of their maps

    def post_init(self) -> None:
        """As in the parent. FSDP looks for every class that is not to be split, and fails where a configuration has
        none of it."""
        super().post_init()
        present = {type(module).__name__ for module in self.modules()}
        self._no_split_modules = {*(type(self)._no_split_modules or ()), *(self._no_split_modules or ())} & present

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own defaults (released code); the encoder initialises itself."""
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                init.uniform_(module.bias, -bound, bound)
            if module is self.decoder.fuse:
                init.kaiming_normal_(module.weight, nonlinearity="relu")
        else:
            super()._init_weights(module)

    # -- what a subclass says --------------------------------------------------------------------------------------

    def remember(self, features: FrameFeatures, roles: Sequence[int]) -> tuple[State, ...]:
        """What a frame leaves behind for each of `roles`, the places in `frame_offsets` that it may take."""
        raise NotImplementedError

    def mine(self, features: FrameFeatures, references: Sequence[State]) -> tuple[Tensor, list[Tensor]]:
        """The target's logits [B, K, h // 2, w // 2], and from what `classify_others` makes others."""
        raise NotImplementedError

    def classify_others(self, others: list[Tensor]) -> list[Tensor]:
        """Other logits [B, K, h // 2, w // 2] that are judged by the target's labels; made only when they are."""
        return others

    # -- clips -----------------------------------------------------------------------------------------------------

    @can_return_tuple
    @filter_output_hidden_states
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_auxiliary_logits: bool | None = None,
        **kwargs,
    ) -> VideoSegmenterOutput:
        """Segment the last frame of each clip.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_frames, 3, height, width)`):
                Normalised frames, oldest first, the target last; of any size. Clips with fewer frames than the
                config asks for are segmented frame by frame, as in the released code.
            labels (`torch.Tensor` of shape `(batch_size, num_frames, height, width)`, *optional*):
                Classes of all frames' pixels, `config.semantic_loss_ignore_index` where there is none.
            output_auxiliary_logits (`bool`, *optional*):
                Whether the scores of every frame on its own are returned. Defaults to when they are needed: in
                training and with labels. The same holds for `retrieved_logits`.
        """
        num_frames = self._check_clip(pixel_values, labels)
        size = pixel_values.shape[-2:]
        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        encoded, features = self.extract(pixel_values.flatten(0, 1), **kwargs)
        target = features.of_frame(-1, num_frames)
        references = self._references_of_clip(features, target, num_frames)

        if output_auxiliary_logits is None:
            output_auxiliary_logits = self.training or labels is not None
        auxiliary_logits, others = None, None
        if output_auxiliary_logits:
            auxiliary_logits = crop(self.decoder.classify(features.fused), size).unflatten(0, (-1, num_frames))
        if references is not None:
            logits, others = self._mine(target, references, size, output_auxiliary_logits)
        elif auxiliary_logits is not None:
            logits = auxiliary_logits[:, -1]
        else:
            logits = crop(self.decoder.classify(target.fused), size)

        loss, terms = None, None
        if labels is not None:
            if auxiliary_logits is None:
                raise ValueError(
                    "The loss needs the auxiliary logits. Received: output_auxiliary_logits=False, labels"
                )
            judged = None if others is None else torch.stack([*others, logits], dim=1)
            loss, terms = clip_loss(self.config, auxiliary_logits, judged, labels)
        return VideoSegmenterOutput(
            loss=loss,
            loss_dict=terms,
            logits=logits,
            auxiliary_logits=auxiliary_logits,
            retrieved_logits=torch.stack(others, dim=1) if others else None,
            hidden_states=features.maps,
            attentions=encoded.attentions,
        )

    def extract(self, frames: Tensor, maps: Maps | None = None, **kwargs) -> tuple[Any, FrameFeatures]:
        """Encoder output, None if the maps are known, and features of frames [N, 3, height, width]."""
        encoded = None
        if maps is None:
            encoded = self.encoder(pad(frames, self.size_divisor), **(kwargs | {"return_dict": True}))
            maps = encoded.hidden_states if self.config.backbone_config is None else encoded.feature_maps
        fused = self.decoder(maps)
        return encoded, FrameFeatures(maps, fused, halve(fused))

    def _references_of_clip(
        self, features: FrameFeatures, target: FrameFeatures, num_frames: int
    ) -> tuple[State, ...] | None:
        """One state per reference frame, None for a clip that is segmented frame by frame."""
        if not self.uses_references or num_frames <= self.config.num_reference_frames:
            return None
        roles = range(self.config.num_reference_frames)
        return tuple(self.remember(features.of_frame(role, num_frames), [role])[0] for role in roles)

    def _mine(
        self, target: FrameFeatures, references: Sequence[State], size: Sequence[int], output_others: bool = True
    ) -> tuple[Tensor, list[Tensor]]:
        """`mine`, enlarged to 1/4 of the image and cropped to `size`, the image's."""
        logits, others = self.mine(target, references)
        others = self.classify_others(others) if output_others else []
        logits, *others = (self._enlarge(maps, target, size) for maps in (logits, *others))
        return logits, others

    @staticmethod
    def _enlarge(maps: Tensor, target: FrameFeatures, size: Sequence[int]) -> Tensor:
        """[N, K, h // 2, w // 2] -> 1/4 of the image, cropped to what belongs to `size`, the image's."""
        return crop(resize(maps, target.fused.shape[-2:]), size)

    # -- frame by frame --------------------------------------------------------------------------------------------

    def encode(self, frames: Tensor) -> Maps:
        """As in the parent; the maps of frames that were padded to what the encoder needs."""
        encoded = self.encoder(pad(frames, self.size_divisor), return_dict=True)
        return tuple(encoded.hidden_states if self.config.backbone_config is None else encoded.feature_maps)

    def step(
        self, frame: Tensor, references: tuple[State, ...] | None, maps: Maps | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """As in the parent."""
        _, features = self.extract(frame, maps)
        states = self.remember(features, range(self.config.num_reference_frames))
        if references is None or not self.uses_references:
            return crop(self.decoder.classify(features.fused), frame.shape[-2:]), states
        return self._mine(features, references, frame.shape[-2:], output_others=False)[0], states
