"""The models that the video scripts train and evaluate, by name (thesis chapters 4 and 5).

A new model needs an entry in `METHODS`, no other change here: its classes are imported when they are asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, SegformerConfig, SegformerModel

from ..convert import convert_original_checkpoint
from ..errors import InvalidDataError
from ..video_segmentation.configuration_video import MIX_TRANSFORMERS
from ..video_segmentation.image_processing_clip import ClipImageProcessor

# of the whole clip, as released: the baseline of the tables learned from the same clips as CFFM and MRCFA
SEGFORMER_FRAME_OFFSETS = (9, 6, 3)
_SEGFORMER_SIZES = ("num_channels", "hidden_sizes", "depths", "patch_sizes", "sr_ratios", "mlp_ratios")


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
    training: str = ".video_trainer:VideoTrainingArguments"

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
        "..video_segmentation.configuration_cffm:CFFMConfig",
        "..video_segmentation.modeling_cffm:CFFMForVideoSemanticSegmentation",
        "..video_segmentation.image_processing_cffm:CFFMImageProcessor",
    ),
    "cffm_plus": VideoMethod(
        "CFFM++",
        "..video_segmentation.configuration_cffm_plus:CFFMPlusConfig",
        "..video_segmentation.modeling_cffm_plus:CFFMPlusForVideoSemanticSegmentation",
        "..video_segmentation.image_processing_cffm:CFFMImageProcessor",
        training=".cffm_plus_run:CFFMPlusTrainingArguments",
    ),
    "mrcfa": VideoMethod(
        "MRCFA",
        "..video_segmentation.configuration_mrcfa:MRCFAConfig",
        "..video_segmentation.modeling_mrcfa:MRCFAForVideoSemanticSegmentation",
        "..video_segmentation.image_processing_mrcfa:MRCFAImageProcessor",
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


def load_encoder_weights(model: PreTrainedModel, method: VideoMethod, source: str) -> None:
    """Give the encoder the weights of a Mix Transformer that was trained on ImageNet.

    Args:
        model: of `method`.
        method: says where the encoder is.
        source: an official file (`mit_b1.pth`), or a folder or name on the Hub of a model of transformers
            ("nvidia/mit-b1").

    Raises:
        InvalidDataError: the file is of another kind, or of an encoder of another size.
    """
    if Path(source).is_file() or Path(source).suffix in (".pth", ".pt"):
        loaded: Any = convert_original_checkpoint(source, "segformer")
    else:
        expected = "a Mix Transformer: mit_b*.pth, or a folder or name on the Hub as transformers has them"
        try:
            result: Any = SegformerModel.from_pretrained(source, output_loading_info=True)
        except (OSError, ValueError, TypeError) as error:
            raise InvalidDataError(source, expected, str(error).partition("\n")[0]) from error
        loaded, information = result
        if information["missing_keys"]:
            raise InvalidDataError(source, expected, f"without {', '.join(sorted(information['missing_keys'])[:5])}")
    encoder: Any = getattr(model, method.encoder)
    for size in _SEGFORMER_SIZES:
        here, there = list_of(getattr(encoder.config, size)), list_of(getattr(loaded.config, size))
        if here != there:
            raise InvalidDataError(source, f"the weights of an encoder with {size} {here}", there)
    encoder.load_state_dict(loaded.state_dict())


def load_video_model(source: str, test_scale: Sequence[int] | None = None) -> tuple[PreTrainedModel, Any]:
    """A trained model in eval mode, and the processor that prepares frames for it.

    Args:
        source: a folder or a name on the Hub.
        test_scale: long and short side that frames fit. By default those of the checkpoint, or 853 and 480 where it
            has others (a SegFormer of images may say 512 x 512).

    Raises:
        OSError: no such checkpoint.
        ValueError: a checkpoint of another kind of model.
    """
    config = AutoConfig.from_pretrained(source)
    if config.model_type not in METHODS:
        raise ValueError(f"{source} must be one of {', '.join(METHODS)}. Received: {config.model_type}")
    model_class: Any = METHODS[config.model_type].model_class
    processor: Any = ClipImageProcessor.from_pretrained(source)
    if test_scale is not None:
        if len(test_scale) != 2 or min(test_scale) < 1:
            raise ValueError(f"test_scale must be two whole numbers from 1 on. Received: {list(test_scale)}")
        processor.size = {"longest_edge": max(test_scale), "shortest_edge": min(test_scale)}
    elif processor.size.longest_edge is None or processor.size.shortest_edge is None:
        processor.size = ClipImageProcessor.size
    return model_class.from_pretrained(source, config=config).eval(), processor


def list_of(value: Any) -> Any:
    """Lists and tuples of a configuration compare equal."""
    return list(value) if isinstance(value, list | tuple) else value
