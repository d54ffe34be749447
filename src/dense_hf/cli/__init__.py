"""The program `dense-hf`.

A command is a file of this folder with `add_parser(subparsers)`, listed in `COMMANDS`. It imports what takes time in
its `run` only, so that `--help` is quick.
"""

import argparse
from collections.abc import Sequence
from importlib import import_module

from ..inference.console import accept_any_letter, say
from ..inference.signals import Terminated, ending_on_terminate
from .errors import CommandError

COMMANDS = (
    *("count", "calibrate", "rank", "segment", "localize", "merge"),
    *("convert", "export", "serve", "push", "annotations", "compare"),
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run`, a function of the parsed arguments that returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="dense-hf",
        description="Dense prediction in hard scenes. `dense-hf COMMAND --help` explains a command with examples.",
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f".{name}", __name__).add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code.

    0 done, 1 done but for some files, 2 not possible, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
    """
    accept_any_letter()
    args = build_parser().parse_args(argv)
    try:
        with ending_on_terminate():
            return args.run(args)
    except CommandError as error:
        say(f"dense-hf: {error}", error=True)
        return 2
    except Terminated:
        return 143
    except KeyboardInterrupt:
        return 130


__all__ = ["main"]
