"""The command line of a script that reads keys from a part of the file of `weak_config.py`."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transformers import HfArgumentParser

from .run_config import ManualFormatter, as_command_line, field_names
from .weak_config import read_part_keys, read_part_sections


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
        part: of the file, see `weak_config.PARTS`.
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
    words = list(sys.argv[1:] if arguments is None else arguments)
    only_config = ArgumentParser(add_help=False, allow_abbrev=False)  # what must be given may stand in the file
    only_config.add_argument("--config")
    path = only_config.parse_known_args(words)[0].config
    dataclass_types: Any = list(classes)
    parser = HfArgumentParser(dataclass_types, usage=usage, description=manual, formatter_class=ManualFormatter)
    where = part if section is None else f"{part}, section {section[0]},"
    parser.add_argument("--config", help=f"A YAML file; its part {where} has the options below as keys.")
    from_file = {}
    if path is not None and section is not None:
        from_file = read_part_sections(path, part, section[1])[section[0]]
    elif path is not None:
        from_file = read_part_keys(path, part, field_names(*classes))
    return tuple(parser.parse_args_into_dataclasses([*as_command_line(from_file), *words])[: len(classes)])
