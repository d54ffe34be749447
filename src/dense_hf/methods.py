"""The models that the video scripts train and evaluate, by name (thesis chapters 4 and 5).

A new model needs an entry in `METHODS`, no other change here: its classes are imported when they are asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel, SegformerConfig

from .video_segmentation.configuration_video import MIX_TRANSFORMERS

# of the whole clip, as released: the baseline of the tables learned from the same clips as CFFM and MRCFA
SEGFORMER_FRAME_OFFSETS = (9, 6, 3)


@dataclass(frozen=True)
class VideoMethod:
    """One model.

    Attributes:
        title: its name in the tables.
        config, model, processor: "module:class", a module of this package if it begins with a dot.
        encoder: attribute of the model that holds its Mix Transformer; all other parameters are "the head".
        training: the training arguments, whose defaults are its recipe.
    """

    title: str
    config: str
    model: str
    processor: str
    encoder: str = "encoder"
    training: str = ".training.video.trainer:VideoTrainingArguments"

    @property
    def config_class(self) -> type[PreTrainedConfig]:
        """The class of its configuration."""
        return _load(self.config)

    @property
    def model_class(self) -> type[PreTrainedModel]:
        """The class of its model."""
        return _load(self.model)

    @property
    def processor_class(self) -> Any:
        """The class of the image processor that is saved beside it."""
        return _load(self.processor)

    @property
    def training_class(self) -> Any:
        """The class of its training arguments."""
        return _load(self.training)

    @property
    def config_keys(self) -> list[str]:
        """Fields of its configuration that describe it. `PreTrainedConfig` has some hundred others."""
        classes = self.config_class.__mro__
        own = classes[: classes.index(PreTrainedConfig)]
        return [key for cls in reversed(own) for key in cls.__annotations__ if key not in ("model_type",)]

    def make_config(self, backbone: str, fields: Mapping[str, Any]) -> PreTrainedConfig:
        """The thesis' configuration for one of its encoders.

        Args:
            backbone: "b0", "b1", "b2" or "b5".
            fields: they win over the thesis' values; those in `encoder_config` one by one.

        Raises:
            ValueError: for another name, or fields that cannot work together.
        """
        if backbone not in MIX_TRANSFORMERS:
            raise ValueError(f"backbone must be one of {sorted(MIX_TRANSFORMERS)}. Received: {backbone!r}")
        encoder = MIX_TRANSFORMERS[backbone]
        if self.config_class is SegformerConfig:
            # 256 for every encoder: parameters of the tables fit no other width
            values: dict[str, Any] = {"decoder_hidden_size": 256} | encoder | dict(fields)
            return SegformerConfig(**values)
        config_class: Any = self.config_class
        return config_class.from_backbone(
            backbone, **(dict(fields) | {"encoder_config": encoder | fields.get("encoder_config", {})})
        )


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module, __package__), attribute)


METHODS = {
    "cffm": VideoMethod(
        "CFFM",
        ".video_segmentation.configuration_cffm:CFFMConfig",
        ".video_segmentation.modeling_cffm:CFFMForVideoSemanticSegmentation",
        ".video_segmentation.image_processing_cffm:CFFMImageProcessor",
    ),
    "cffm_plus": VideoMethod(
        "CFFM++",
        ".video_segmentation.configuration_cffm_plus:CFFMPlusConfig",
        ".video_segmentation.modeling_cffm_plus:CFFMPlusForVideoSemanticSegmentation",
        ".video_segmentation.image_processing_cffm:CFFMImageProcessor",
        training=".training.video.cffm_plus:CFFMPlusTrainingArguments",
    ),
    "mrcfa": VideoMethod(
        "MRCFA",
        ".video_segmentation.configuration_mrcfa:MRCFAConfig",
        ".video_segmentation.modeling_mrcfa:MRCFAForVideoSemanticSegmentation",
        ".video_segmentation.image_processing_mrcfa:MRCFAImageProcessor",
    ),
    # transformers' own class, so its checkpoints need nothing of this package
    "segformer": VideoMethod(
        "SegFormer",
        "transformers:SegformerConfig",
        "transformers:SegformerForSemanticSegmentation",
        "transformers:SegformerImageProcessor",
        encoder="segformer",
    ),
}


def frame_offsets(config: PreTrainedConfig) -> tuple[int, ...]:
    """How many frames before the target the other frames of a training clip are."""
    return tuple(getattr(config, "frame_offsets", SEGFORMER_FRAME_OFFSETS))
