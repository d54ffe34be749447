"""What a row of the table of models says of one (see `methods`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from inspect import get_annotations
from typing import TYPE_CHECKING, Any

from .lazy_names import load_name, split_name

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

COUNTING = "object-counting"
VIDEO = "video-semantic-segmentation"
WEAK = "weakly-supervised-segmentation"
SEGMENTATION = "semantic-segmentation"
AFFINITY = "pixel-affinity"


@dataclass(frozen=True)
class Method:
    """One model.

    Attributes:
        name: its model type, in config.json and on the command line.
        title: its name in tables and cards.
        task: which scripts, pipeline and Space take it; the name of the pipeline where there is one.
        config, model, processor: its classes, "module:class".
        training: the training arguments, whose defaults are its recipe.
        auto_classes: besides `AutoModel` those that find it, "module:class".
        encoder: attribute of the model that holds its pretrained backbone; all other parameters are "the head".
        converters: architecture -> "module:function" that turns the authors' tensors and config overrides into a
            model; it raises ValueError with what it expected.
        variant_title: gives the title of a config where it depends on its fields; `None`: always `title`.
        thesis_config: makes the thesis' configuration from its class, the name of a backbone and fields that win over
            the thesis' values; `None`: the defaults of the class are the thesis'.
        fixed_fields: fields of its configuration that no run decides.
        trunk: the network that its encoder is unless the config has a `backbone_config`, by its name for
            `training.backbone_weights`; `None` if only a `backbone_config` says it.
        frame_offsets: frames before the target in a training clip, for a model that takes single frames.
        requirements: packages that its code needs besides those of dense_hf, as pip takes them.
        limits: what users of a trained model must know of the method, one sentence or two each, for its card.
    """

    name: str
    title: str
    task: str
    config: str
    model: str
    processor: str
    training: str
    auto_classes: tuple[str, ...] = ()
    encoder: str = "backbone"
    converters: Mapping[str, str] = field(default_factory=dict)
    variant_title: Callable[[Any], str] | None = None
    thesis_config: Callable[[Any, str, Mapping[str, Any]], "PreTrainedConfig"] | None = None
    fixed_fields: tuple[str, ...] = ()
    trunk: str | None = None
    frame_offsets: tuple[int, ...] | None = None
    requirements: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def config_class(self) -> "type[PreTrainedConfig]":
        """The class of its configuration."""
        return load_name(self.config)

    @property
    def model_class(self) -> "type[PreTrainedModel]":
        """The class of its model."""
        return load_name(self.model)

    @property
    def processor_class(self) -> Any:
        """The class of the image processor that is saved beside it."""
        return load_name(self.processor)

    @property
    def training_class(self) -> Any:
        """The class of its training arguments."""
        return load_name(self.training)

    @property
    def is_of_transformers(self) -> bool:
        """Whether its classes are transformers' own, so that its checkpoints need nothing of this package."""
        return split_name(self.config)[0].partition(".")[0] == "transformers"

    @property
    def config_keys(self) -> list[str]:
        """Fields of its configuration that describe it. `PreTrainedConfig` has some hundred others."""
        from transformers import PreTrainedConfig

        classes = self.config_class.__mro__
        own = classes[: classes.index(PreTrainedConfig)]
        known = {one.name for one in fields(self.config_class)}.difference(self.fixed_fields)
        return list(dict.fromkeys(key for cls in reversed(own) for key in get_annotations(cls) if key in known))

    def title_of(self, config: "PreTrainedConfig") -> str:
        """The name of a model with this configuration in tables and cards."""
        return self.title if self.variant_title is None else self.variant_title(config)

    def make_config(self, backbone: str | None, fields: Mapping[str, Any]) -> "PreTrainedConfig":
        """The thesis' configuration, for one of its backbones where the method has several.

        Args:
            backbone: for the video models "b0", "b1", "b2" or "b5"; `None` for the default of the config.
            fields: they win over the thesis' values; those in `encoder_config` one by one.

        Raises:
            ValueError: for another name, or fields that cannot work together.
        """
        if backbone is None:
            return self.config_class(**fields)
        if self.thesis_config is None:
            raise ValueError(f"{self.title} has one backbone, which its config describes. Received: {backbone!r}")
        return self.thesis_config(self.config_class, backbone, fields)
