"""One YAML file and one command line for every script. The dataclasses hold the defaults.

A training run has sections of keys, each of which is a field of a dataclass:

    model:            # fields of the model's configuration, and of ModelArguments
      encoder_layers: 4
    data:             # where the data is and how it is augmented
      data_dir: data/iocfish5k
    training:         # fields of the training arguments
      learning_rate: 1.0e-4

One file may hold all steps from image-level labels to masks (thesis, chapter 3); each script reads its own part:

    classifier:          # scripts/train_mcis.py: the sections above
      model: {hidden_size: 512}
    localization:        # scripts/make_maps.py: keys
      num_references: 3
    refinement:          # scripts/train_affinity.py, scripts/refine_maps.py; without this part, no such steps
      training: {}
    pseudo_labels:       # scripts/make_pseudo_labels.py: keys
      background_score: 0.2
    segmenter:           # scripts/train_deeplab.py: sections
      training: {max_steps: 16000}
    evaluation:          # scripts/evaluate_segmentation.py: keys
      crf: true
    pipeline:            # scripts/run_weak_pipeline.py, which runs all of them: keys
      num_processes: 2

A key that is not a field is an error that lists the fields. What the command line says wins over the file.
"""

import difflib
import json
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser, PreTrainedConfig
from transformers.utils import logging

from .errors import InvalidDataError, first_of
from .reading import read_yaml as read_yaml

logger = logging.get_logger(__name__)


def read_config(path: str | Path, known_keys: Mapping[str, Iterable[str]]) -> dict[str, dict[str, Any]]:
    """The sections of a YAML file.

    Args:
        path: The file.
        known_keys: Section name to the keys that it may have.

    Returns:
        Every section of `known_keys`, empty where the file has none.

    Raises:
        InvalidDataError: No YAML, no mapping of mappings, unknown sections or keys.
    """
    return read_sections(path, read_yaml(path), known_keys)


def read_sections(
    path: str | Path, content: Any, known_keys: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, Any]]:
    """What of a file is sections of keys, checked; arguments and errors as for [`read_config`]."""
    check_keys(path, "sections", content, known_keys)
    sections = {}
    for name, keys in known_keys.items():
        section = {} if content.get(name) is None else content[name]
        check_keys(path, f"keys in {name}", section, keys)
        sections[name] = section
    return sections


def check_keys(path: str | Path, what: str, mapping: Any, known: Iterable[str]) -> None:
    """Nothing, if all keys are known.

    Raises:
        InvalidDataError: with the unknown keys and what may have been meant; also if it is no mapping.
    """
    known = sorted(known)
    if not isinstance(mapping, dict):
        raise InvalidDataError(path, f"a mapping with {what} among {', '.join(known)}", mapping)
    unknown = [str(key) for key in mapping if key not in known]
    if unknown:
        close = [match for key in unknown[:10] for match in difflib.get_close_matches(key[:100], known, n=1)]
        hint = f" (did you mean {', '.join(close)}?)" if close else ""
        raise InvalidDataError(path, f"{what} among {', '.join(known)}", first_of(unknown) + hint)


def field_names(*classes: Any) -> list[str]:
    """The names of all fields that a constructor takes."""
    return [field.name for cls in classes for field in fields(cls) if field.init]


def as_command_line(section: Mapping[str, Any]) -> list[str]:
    """A section as the words that a person would type: one parser then checks file and command line."""
    words: list[str] = []
    for key, value in section.items():
        if value is None:
            continue
        words.append(f"--{key}")
        if isinstance(value, list | tuple):
            words += [_word(item) for item in value]
        else:
            words.append(_word(value))
    return words


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)


class ManualFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the lines of the manual, and tells the default of an option where its help does not."""

    def _get_help_string(self, action: Any) -> str | None:
        told = action.default in (None, "", []) or "default:" in (action.help or "").lower()
        return action.help if told else super()._get_help_string(action)


@dataclass(frozen=True)
class ParsedRun:
    """What file and command line say.

    Attributes:
        path: of the file, or "command line".
        sections: what the file says, all of it.
        of_config: the fields of the model's configuration, from the file's section `model`.
        values: an instance of each dataclass that was asked for.
        typed: names of the options on the command line.
    """

    path: str
    sections: dict[str, dict[str, Any]]
    of_config: dict[str, Any]
    values: tuple[Any, ...]
    typed: frozenset[str]

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
                trained: Any = config_class.from_pretrained(model_name_or_path)
                config: Any = config_class.from_pretrained(model_name_or_path, **self.of_config)
                for name in self.of_config:
                    if (here := getattr(config, name)) != (there := getattr(trained, name)):
                        logger.warning(f"{name} is {here}, but {there} in {model_name_or_path}")
                return config
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
        part: which part of the file has the sections, see `PARTS`; by default the file itself.
        other_sections: checked, and left to another script.

    Raises:
        InvalidDataError: the file has unknown keys.
        ValueError: values that cannot work.
        SystemExit: options that do not exist or have values of the wrong type, as argparse does.
    """
    names = [name for name in known_keys if name not in other_sections]
    where = "A YAML file with" if part is None else f"A YAML file; its part {part} has"
    about = f"{where} sections {', '.join(names[:-1])} and {names[-1]}."
    line = _CommandLine(classes, manual, "%(prog)s --config FILE [options]", about, arguments)
    sections: dict[str, dict[str, Any]] = {name: {} for name in known_keys}
    if line.path is not None:
        read = read_config if part is None else partial(read_part_sections, part=part)
        sections = read(line.path, known_keys=known_keys)
    from_file = {key: value for name in names for key, value in sections[name].items()}
    of_config = {key: from_file.pop(key) for key in config_keys if key in sections["model"]}
    return ParsedRun(line.path or "command line", sections, of_config, line.parse(from_file), line.typed)


def config_file(arguments: Sequence[str] | None = None) -> str | None:
    """What `--config` names on the command line; default is that of the process."""
    only_config = ArgumentParser(add_help=False, allow_abbrev=False)  # what must be given may stand in the file
    only_config.add_argument("--config")
    return only_config.parse_known_args(sys.argv[1:] if arguments is None else list(arguments))[0].config


class _CommandLine:
    """The options of dataclasses, and the words that were typed for them behind `--config FILE`."""

    def __init__(
        self, classes: Sequence[Any], manual: str | None, usage: str, about: str, arguments: Sequence[str] | None
    ):
        self.words = list(sys.argv[1:] if arguments is None else arguments)
        self.num_classes = len(classes)
        self.path = config_file(self.words)
        dataclass_types: Any = list(classes)
        # without abbreviations: what would be ignored is found by its name
        self.parser = HfArgumentParser(
            dataclass_types, usage=usage, description=manual, formatter_class=ManualFormatter, allow_abbrev=False
        )
        self.parser.add_argument("--config", help=about)
        for action in self.parser._actions:
            if action.nargs == "+":  # a list may be empty: no milestones
                action.nargs = "*"

    @property
    def typed(self) -> frozenset[str]:
        """Names of the options on the command line."""
        options = [word[2:].partition("=")[0].replace("-", "_") for word in self.words if word.startswith("--")]
        return frozenset(options) | {name.removeprefix("no_") for name in options}

    def parse(self, from_file: Mapping[str, Any]) -> tuple[Any, ...]:
        """An instance of each dataclass; what was typed wins over the file."""
        words = [*as_command_line(from_file), *self.words]
        return tuple(self.parser.parse_args_into_dataclasses(words)[: self.num_classes])


def refuse_ignored(typed: Collection[str], reasons: Mapping[str, str | None]) -> None:
    """Nothing, if every option that was typed does something.

    Args:
        typed: names of the options on the command line.
        reasons: name of an option to why it would be ignored in this run, or None if it is not.

    Raises:
        ValueError: with all that would be ignored. Keys of a file may serve several runs, so they are no error.
    """
    ignored = [f"{name} ({why})" for name, why in reasons.items() if why is not None and name in typed]
    if ignored:
        raise ValueError(f"Options that would be ignored: {'; '.join(ignored)}")


PARTS = (
    "classifier",
    "localization",
    "refinement",
    "pseudo_labels",
    "segmenter",
    "evaluation",
    "prototypes",
    "pipeline",
)


def read_part_sections(
    path: str | Path, part: str, known_keys: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, Any]]:
    """A part that has sections.

    Args:
        path: the file.
        part: one of `PARTS`.
        known_keys: section name to the keys that it may have.

    Returns:
        Every section of `known_keys`, empty where the file has none.

    Raises:
        InvalidDataError: no YAML, unknown parts, sections or keys.
    """
    return read_sections(path, _part(path, part), known_keys)


def read_part_keys(path: str | Path, part: str, known_keys: Iterable[str]) -> dict[str, Any]:
    """A part that has keys only; arguments and errors as for [`read_part_sections`]."""
    content = _part(path, part)
    check_keys(path, f"keys in {part}", content, known_keys)
    return content


def _part(path: str | Path, part: str) -> Any:
    content = read_yaml(path)
    check_keys(path, "parts", content, PARTS)
    return {} if content.get(part) is None else content[part]


def parse_part(
    part: str,
    classes: Sequence[Any],
    manual: str | None = None,
    arguments: Sequence[str] | None = None,
    usage: str = "%(prog)s [--config FILE] [options]",
    section: tuple[str, Mapping[str, Iterable[str]]] | None = None,
) -> tuple[Any, ...]:
    """Read `--config FILE` and the options after it, which win over the file.

    Args:
        part: of the file, see `PARTS`.
        classes: dataclasses, whose fields are the keys and the options.
        manual: what `--help` says before it lists the options.
        arguments: the command line; default is that of the process.
        usage: the first line of the help.
        section: for a part that has sections: which one is read, and the keys of all of them. It has those of the
            last of `classes`; what the others say is not in the file.

    Returns:
        An instance of each of `classes`.

    Raises:
        InvalidDataError: the file has unknown parts or keys.
        ValueError: values that cannot work.
        SystemExit: options that do not exist or have values of the wrong type, as argparse does.
    """
    where = part if section is None else f"{part}, section {section[0]},"
    about = f"A YAML file; its part {where} has the options below as keys."
    line = _CommandLine(classes, manual, usage, about, arguments)
    from_file = {}
    if line.path is not None and section is not None:
        from_file = read_part_sections(line.path, part, section[1])[section[0]]
    elif line.path is not None:
        from_file = read_part_keys(line.path, part, field_names(*classes))
    return line.parse(from_file)


def option(default: Any, text: str) -> Any:
    """The field of a dataclass for an option: its default (of a list or dictionary, a copy) and what `--help` says."""
    metadata = {"help": text}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)
