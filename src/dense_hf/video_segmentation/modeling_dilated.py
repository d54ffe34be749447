"""PSPNet and OCRNet for video, which look at single frames, and what TCB and NetWarp share with them (Table 4.1).

B clips, T frames of a clip, N frames of all, C_y and C_x channels of the last two maps of the backbone, h x w their
size (1/8 of the frame), K labels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import filter_output_hidden_states, load_backbone
from transformers.utils.generic import can_return_tuple

from .configuration_dilated import DilatedVideoConfig, OCRNetVideoConfig, PSPNetVideoConfig
from .enlarged_cross_entropy import enlarged_cross_entropy
from .frame_decoder import resize
from .frame_reuse import Maps
from .heads_dilated import ClassifierHead, Context, build_head
from .video_session import State
from .video_streaming import StreamingModel, VideoSegmenterOutput


class DilatedFeatures(NamedTuple):
    """Features of N frames.

    Attributes:
        maps: Of the backbone; the last two are used, [N, C_y, h, w] and [N, C_x, h, w].
        prepared: What the head made of the last map, [N, C, h, w].
        scores: Auxiliary logits [N, K, h, w], None where nothing needs them.
    """

    maps: tuple[Tensor, ...]
    prepared: Tensor
    scores: Tensor | None

    def of_frame(self, index: int, num_frames: int) -> "DilatedFeatures":
        """Features [B, ...] of one frame of B clips that lie one after the other."""

        def pick(features: Tensor) -> Tensor:
            return features.unflatten(0, (-1, num_frames))[:, index]

        scores = None if self.scores is None else pick(self.scores)
        return DilatedFeatures(tuple(map(pick, self.maps)), pick(self.prepared), scores)


class DilatedVideoModel(StreamingModel, PreTrainedModel):
    """Base of the models with a dilated backbone. A subclass says how the target uses other frames (`combine`)."""

    config: DilatedVideoConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("video",)  # ty: ignore[invalid-assignment]  as the models of transformers say it
    accepts_loss_kwargs = False
    clip_arguments: tuple[str, ...] = ()  # of `forward`, besides those of all models

    def __init__(self, config: DilatedVideoConfig):
        super().__init__(config)
        self.encoder = load_backbone(config)
        channels: list[int] = list(self.encoder.channels)
        if len(channels) < 2:
            raise ValueError(f"The backbone must give two maps (out_indices). Received: {len(channels)}")
        self.head = build_head(config, channels[-1])
        self.auxiliary_head = ClassifierHead(config, channels[-2], bias=config.head == "ocr")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Convolutions by He's rule; the backbone initialises itself."""
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    # -- what a subclass says --------------------------------------------------------------------------------------

    def remember(self, features: DilatedFeatures, frames: Tensor) -> State:
        """What a frame leaves behind for later ones."""
        return ()

    def combine(self, features: DilatedFeatures, own: State, references: Sequence[State]) -> Tensor:
        """Logits [B, K, h, w] of the target by what it and earlier frames leave behind; here by neither."""
        return self.head.classify(self.head.mix(features.prepared, self._context(features)))

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
                Normalised frames, the target last; of any size. Frames `(batch_size, 3, height, width)` are clips of
                one frame.
            labels (`torch.Tensor` of shape `(batch_size, num_frames, height, width)`, *optional*):
                Classes of all frames' pixels, `config.semantic_loss_ignore_index` where there is none. The loss looks
                at the target and, by the auxiliary head, at all frames. Models of single frames have one of all.
            output_auxiliary_logits (`bool`, *optional*):
                Whether what the auxiliary head says of every frame is returned. Defaults to when it is needed: in
                training and with labels.
        """
        if pixel_values.ndim == 4:
            pixel_values = pixel_values[:, None]
            labels = labels[:, None] if labels is not None and labels.ndim == 3 else labels
        num_frames = self._check_clip(pixel_values, labels)
        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        if output_auxiliary_logits is None:
            output_auxiliary_logits = self.training or labels is not None
        frames = pixel_values.flatten(0, 1)
        of_clip = {name: kwargs.pop(name, None) for name in self.clip_arguments}
        features = self.extract(frames, output_auxiliary_logits, **kwargs)
        logits = self._logits_of_clip(features, pixel_values, **of_clip)
        auxiliary_logits, loss, terms = None, None, None
        if output_auxiliary_logits and features.scores is not None:
            auxiliary_logits = features.scores.unflatten(0, (-1, num_frames))
        if labels is not None:
            judged = labels[:, -logits.shape[1] :]
            terms = {"loss_target": self._cross_entropy(logits, judged)}
            loss = terms["loss_target"]
            if auxiliary_logits is not None:
                terms["loss_auxiliary"] = self._auxiliary_loss(auxiliary_logits, labels)
                loss = loss + self.config.auxiliary_loss_weight * terms["loss_auxiliary"]
        return VideoSegmenterOutput(
            loss=loss,
            loss_dict=terms,
            logits=logits[:, -1],
            auxiliary_logits=auxiliary_logits,
            hidden_states=features.maps,
        )

    def extract(
        self, frames: Tensor, needs_scores: bool = False, maps: Maps | None = None, **kwargs
    ) -> DilatedFeatures:
        """Features of frames [N, 3, height, width]; the maps may be known."""
        if maps is None:
            maps = self.encoder(frames, **(kwargs | {"return_dict": True})).feature_maps
        scores = None
        if needs_scores or self.head.needs_scores:
            scores = self.auxiliary_head(maps[-2])
            if scores.shape[-2:] != maps[-1].shape[-2:]:  # a backbone that is not dilated
                scores = F.interpolate(scores, size=maps[-1].shape[-2:], mode="bilinear", align_corners=False)
        return DilatedFeatures(tuple(maps), self.head.prepare(maps[-1]), scores)

    def _logits_of_clip(self, features: DilatedFeatures, clip: Tensor) -> Tensor:
        """Logits [B, M, K, h, w] of the last M frames: all in training, where each has labels, else the target."""
        num_frames = clip.shape[1]
        if not self.training:
            features = features.of_frame(-1, num_frames)
            num_frames = 1
        return self.combine(features, (), ()).unflatten(0, (-1, num_frames))

    def _context(self, features: DilatedFeatures) -> Context:
        return self.head.context(features.prepared, features.scores)

    def _auxiliary_loss(self, auxiliary_logits: Tensor, labels: Tensor) -> Tensor:
        return self._cross_entropy(auxiliary_logits, labels)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[B, M, K, h, w] against [B, M, H, W], the mean over pixels that have a label."""
        maps, truth = logits.flatten(0, 1), labels.flatten(0, 1).long()
        ignored = self.config.semantic_loss_ignore_index
        if self.config.loss_upsampling == "logits":
            total = torch.stack([enlarged_cross_entropy(*pair, ignored) for pair in zip(maps, truth)]).sum()
        else:
            scores = resize(maps.float().log_softmax(dim=1), truth.shape[-2:])
            total = F.nll_loss(scores, truth, ignore_index=ignored, reduction="sum")
        return total / (truth != ignored).sum().clamp(min=1)  # a batch without labels is 0

    # -- frame by frame --------------------------------------------------------------------------------------------

    def encode(self, frames: Tensor) -> Maps:
        """As in the parent."""
        return tuple(self.encoder(frames, return_dict=True).feature_maps)

    def step(
        self, frame: Tensor, references: tuple[State, ...] | None, maps: Maps | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """As in the parent."""
        features = self.extract(frame, maps=maps)
        own = self.remember(features, frame)
        return self.combine(features, own, references or ()), (own,) * self.config.num_reference_frames


class PSPNetForVideoSemanticSegmentation(DilatedVideoModel):
    """PSPNet, frame by frame: pyramid pooling on a dilated ResNet.

    Example:

    ```python
    >>> model = PSPNetForVideoSemanticSegmentation(PSPNetVideoConfig(num_labels=124)).eval()
    >>> session = model.new_session()
    >>> for frame in torch.randn(2, 1, 3, 480, 853):
    ...     logits = model.segment_frame(frame, session)
    ```
    """

    config: PSPNetVideoConfig  # ty: ignore[incompatible-mutable-override]  as in transformers

    def __init__(self, config: PSPNetVideoConfig):
        super().__init__(config)
        self.post_init()


class OCRNetForVideoSemanticSegmentation(DilatedVideoModel):
    """OCRNet, frame by frame: pixels attend to the mean features of the classes, on a dilated ResNet.

    Example:

    ```python
    >>> model = OCRNetForVideoSemanticSegmentation(OCRNetVideoConfig(num_labels=124)).eval()
    >>> model(torch.randn(1, 1, 3, 480, 853)).logits.shape
    torch.Size([1, 124, 60, 107])
    ```
    """

    config: OCRNetVideoConfig  # ty: ignore[incompatible-mutable-override]  as in transformers

    def __init__(self, config: OCRNetVideoConfig):
        super().__init__(config)
        self.post_init()


__all__ = ["OCRNetForVideoSemanticSegmentation", "PSPNetForVideoSemanticSegmentation"]
