"""One YAML file per run: sections of keys, each of which is a field of a dataclass. The dataclasses hold the defaults.

    model:            # fields of the model's configuration, and of ModelArguments
      encoder_layers: 4
    data:             # where the data is and how it is augmented
      data_dir: data/iocfish5k
    training:         # fields of RecipeArguments
      learning_rate: 1.0e-4

A key that is not a field is an error that lists the fields. What the command line says wins over the file.
"""

import difflib
import json
from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from ..errors import InvalidDataError


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


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file, `{}` if it is empty.

    Raises:
        InvalidDataError: no file, or no YAML.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidDataError(path, "a YAML file", error) from error
    return {} if content is None else content


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
        raise InvalidDataError(path, f"a mapping with {what} among {', '.join(known)}", repr(mapping))
    unknown = [str(key) for key in mapping if key not in known]
    if unknown:
        close = [match for key in unknown for match in difflib.get_close_matches(key, known, n=1)]
        hint = f" (did you mean {', '.join(close)}?)" if close else ""
        raise InvalidDataError(path, f"{what} among {', '.join(known)}", ", ".join(unknown) + hint)


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
