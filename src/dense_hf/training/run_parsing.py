"""A training run from a YAML file and a command line. One parser checks both; what the command line says wins."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser, PreTrainedConfig

from ..errors import InvalidDataError
from .run_config import ManualFormatter, as_command_line, read_config
from .weak_config import read_part_sections


@dataclass(frozen=True)
class ParsedRun:
    """What file and command line say.

    Attributes:
        path: of the file, or "command line".
        sections: what the file says, all of it.
        of_config: the fields of the model's configuration, from the file's section `model`.
        values: an instance of each dataclass that was asked for.
    """

    path: str
    sections: dict[str, dict[str, Any]]
    of_config: dict[str, Any]
    values: tuple[Any, ...]

    def make_config(
        self,
        config_class: type[PreTrainedConfig],
        model_name_or_path: str | None = None,
        make: Callable[..., PreTrainedConfig] | None = None,
    ) -> Any:
        """The model's configuration: that of a trained model, or else a new one, with the fields that the file names.

        Args:
            config_class: of the configuration.
            model_name_or_path: a trained model, a folder or a name on the Hub.
            make: makes a new one; by default `config_class`.

        Raises:
            InvalidDataError: the model cannot have these values.
        """
        try:
            if model_name_or_path is not None:
                return config_class.from_pretrained(model_name_or_path, **self.of_config)
            return (make or config_class)(**self.of_config)
        except (StrictDataclassError, ValueError, TypeError) as error:
            expected = f"a model section that {config_class.__name__} takes"
            raise InvalidDataError(self.path, expected, error) from error


def parse_training_run(
    classes: Sequence[Any],
    known_keys: Mapping[str, Iterable[str]],
    config_keys: Iterable[str],
    manual: str | None = None,
    arguments: Sequence[str] | None = None,
    part: str | None = None,
    other_sections: Sequence[str] = (),
) -> ParsedRun:
    """Read `--config FILE` and the options after it.

    Args:
        classes: dataclasses, whose fields are the options.
        known_keys: section of the file to its keys.
        config_keys: those of the section `model` that describe the model and are no options.
        manual: what `--help` says before it lists the options.
        arguments: the command line; default is that of the process.
        part: which part of the file has the sections, see `weak_config.PARTS`; by default the file itself.
        other_sections: checked, and left to another script.

    Raises:
        InvalidDataError: the file has unknown keys.
        ValueError: values that cannot work.
        SystemExit: options that do not exist or have values of the wrong type, as argparse does.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    usage = "%(prog)s --config FILE [options]"
    dataclass_types: Any = list(classes)
    parser = HfArgumentParser(dataclass_types, usage=usage, description=manual, formatter_class=ManualFormatter)
    names = [name for name in known_keys if name not in other_sections]
    where = "A YAML file with" if part is None else f"A YAML file; its part {part} has"
    parser.add_argument("--config", help=f"{where} sections {', '.join(names[:-1])} and {names[-1]}.")
    path = parser.parse_known_args(words)[0].config
    sections: dict[str, dict[str, Any]] = {name: {} for name in known_keys}
    if path is not None:
        sections = read_config(path, known_keys) if part is None else read_part_sections(path, part, known_keys)
    from_file = {key: value for name in names for key, value in sections[name].items()}
    of_config = {key: from_file.pop(key) for key in config_keys if key in sections["model"]}
    values = parser.parse_args_into_dataclasses([*as_command_line(from_file), *words])[: len(classes)]
    return ParsedRun(path or "command line", sections, of_config, tuple(values))


def pixel_problems(image_mean: Sequence[float], image_std: Sequence[float]) -> list[str]:
    """What is wrong with the numbers that pixels are normalised by, one sentence each."""
    problems = []
    if len(image_mean) != 3:
        problems.append(f"image_mean must be three numbers, received {image_mean}")
    if len(image_std) != 3 or min(image_std) <= 0:
        problems.append(f"image_std must be three numbers above 0, received {image_std}")
    return problems
