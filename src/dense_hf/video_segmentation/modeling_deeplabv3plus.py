"""DeepLabv3+ of segmentation_models_pytorch for video, frame by frame. It is no row of the thesis' tables.

The network is that library's (MIT), imported when a model is made: `pip install 'dense_hf[segmentation-models]'`.
Added are frames of any size, clips, sessions and the loss. Logits stay at a quarter of the frame, as those of the
other models of video; the library's last layer would only enlarge them.

B clips, T frames of a clip, N frames of all, K labels, h x w a quarter of the frame, rounded up.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import filter_output_hidden_states
from transformers.modeling_outputs import BackboneOutput
from transformers.utils.generic import can_return_tuple

from .clip_loss import mean_cross_entropy
from .configuration_deeplabv3plus import DeepLabV3PlusVideoConfig
from .frame_decoder import crop, pad
from .frame_reuse import Maps
from .video_session import State
from .video_streaming import StreamingModel, VideoSegmenterOutput

DIVISOR = 32  # of the sides of padded frames, so that all maps of an encoder have whole sizes
# what is raised for one that does not fit
_NO_ENCODER = (AssertionError, KeyError, RuntimeError, TypeError, ValueError)


def build_network(config: DeepLabV3PlusVideoConfig) -> Any:
    """The network, with random weights and logits at a quarter of the frame.

    Raises:
        ImportError: segmentation_models_pytorch is not installed.
        ValueError: an encoder that it does not have or cannot dilate.
    """
    try:
        from segmentation_models_pytorch import DeepLabV3Plus
    except ImportError as error:
        raise ImportError(
            "DeepLabv3+ needs segmentation_models_pytorch: pip install 'dense_hf[segmentation-models]'"
        ) from error
    try:
        return DeepLabV3Plus(
            config.encoder_name,
            encoder_weights=None,
            encoder_output_stride=config.encoder_output_stride,
            decoder_channels=config.decoder_channels,
            decoder_atrous_rates=tuple(config.decoder_atrous_rates),
            decoder_aspp_dropout=config.decoder_aspp_dropout,
            classes=config.num_labels,
            upsampling=1,
        )
    except _NO_ENCODER as error:
        raise ValueError(
            "encoder_name must be an encoder of segmentation_models_pytorch, or tu- and a network of timm, that can "
            f"be dilated. Received: {config.encoder_name!r} ({error!r:.200})"
        ) from error


class SegmentationModelsEncoder(PreTrainedModel):
    """The library's encoder, as the backbones of transformers look from outside.

    Of its maps it returns those that the decoder reads: a cache of features need not keep the others.
    """

    config: DeepLabV3PlusVideoConfig
    main_input_name = "pixel_values"

    def __init__(self, config: DeepLabV3PlusVideoConfig, network: Any):
        super().__init__(config)
        self.network = network
        self.post_init()

    @property
    def _backbone(self) -> Any:
        """The network that files of ImageNet weights are of, under the name that `TimmBackbone` has for it."""
        return self.network if self.config.encoder_architecture is None else self.network.model

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """The network has initialised itself. Buffers that no file has, and statistics, as `TimmBackbone` does it."""
        if callable(make_buffers := getattr(module, "init_non_persistent_buffers", None)):
            make_buffers()
        elif isinstance(module, nn.BatchNorm2d):
            for name, buffer in module.named_buffers():
                fill = init.ones_ if name == "running_var" else init.zeros_
                fill(buffer)

    def forward(self, pixel_values: Tensor) -> BackboneOutput:
        """Frames [N, 3, height, width] -> `feature_maps` at a quarter of them and at `encoder_output_stride`."""
        maps = self.network(pixel_values)
        of_decoder: Any = (maps[2], maps[-1])
        return BackboneOutput(feature_maps=of_decoder)


class DeepLabV3PlusForVideoSemanticSegmentation(StreamingModel, PreTrainedModel):
    """DeepLabv3+ of segmentation_models_pytorch, frame by frame.

    Example:

    ```python
    >>> config = DeepLabV3PlusVideoConfig(encoder_name="tu-tf_efficientnet_lite0", num_labels=124)
    >>> model = DeepLabV3PlusForVideoSemanticSegmentation(config).eval()
    >>> session = model.new_session()
    >>> model.segment_frame(torch.randn(1, 3, 480, 853), session).shape
    torch.Size([1, 124, 120, 214])
    ```
    """

    config: DeepLabV3PlusVideoConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("video",)  # ty: ignore[invalid-assignment]  as the models of transformers say it
    accepts_loss_kwargs = False

    def __init__(self, config: DeepLabV3PlusVideoConfig):
        super().__init__(config)
        network = build_network(config)
        self.encoder = SegmentationModelsEncoder(config, network.encoder)
        self.decoder = network.decoder
        self.segmentation_head = network.segmentation_head
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own defaults, which the library leaves as they are; the encoder initialises itself."""
        if isinstance(module, nn.Conv2d):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                init.uniform_(module.bias, -bound, bound)
        else:
            super()._init_weights(module)

    @can_return_tuple
    @filter_output_hidden_states
    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs) -> VideoSegmenterOutput:
        """Segment the last frame of each clip, which the others do not help.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_frames, 3, height, width)`):
                Normalised frames, the target last; of any size. Frames `(batch_size, 3, height, width)` are clips of
                one frame.
            labels (`torch.Tensor` of shape `(batch_size, num_frames, height, width)`, *optional*):
                Classes of all frames' pixels, `config.semantic_loss_ignore_index` where there is none. In training the
                loss looks at all frames, else at the target; its mean is over all pixels, as of the other models that
                judge single frames.
        """
        if pixel_values.ndim == 4:
            pixel_values = pixel_values[:, None]
            labels = labels[:, None] if labels is not None and labels.ndim == 3 else labels
        self._check_clip(pixel_values, labels)
        first = 0 if self.training and labels is not None else -1
        seen = pixel_values[:, first:]
        maps = self.encode(seen.flatten(0, 1))
        logits = self.decode(maps, seen.shape[-2:]).unflatten(0, (-1, seen.shape[1]))
        loss, terms = None, None
        if labels is not None:
            loss = mean_cross_entropy(logits, labels[:, first:], self.config)
            terms = {"loss_target": loss}
        return VideoSegmenterOutput(loss=loss, loss_dict=terms, logits=logits[:, -1], hidden_states=maps)

    def encode(self, frames: Tensor) -> Maps:
        """As in the parent; the maps of frames that were padded to what the network needs."""
        return tuple(self.encoder(pad(frames, DIVISOR)).feature_maps)

    def decode(self, maps: Maps, size: Sequence[int]) -> Tensor:
        """Maps of `encode` -> logits [N, K, h, w] of frames of `size`."""
        low, high = maps  # the third and the last of the encoder's, which is all that the decoder reads
        return crop(self.segmentation_head(self.decoder([low, low, low, high])), size)

    def step(
        self, frame: Tensor, references: tuple[State, ...] | None, maps: Maps | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """As in the parent; a frame leaves nothing behind."""
        return self.decode(self.encode(frame) if maps is None else maps, frame.shape[-2:]), ()


__all__ = ["DeepLabV3PlusForVideoSemanticSegmentation"]
