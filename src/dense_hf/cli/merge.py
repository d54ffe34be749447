"""`dense-hf merge`: the parts of a run in; what one run over everything gives out."""

import argparse
from pathlib import Path
from typing import Any

from ..inference.console import shown
from .errors import CommandError

_MANUAL = """\
examples:
  four machines (or four jobs of a cluster) count a survey; each may be killed and started again with --resume
    dense-hf count survey -r --model checkpoints/iocformer --output counts --shard 1/4
    dense-hf count survey -r --model checkpoints/iocformer --output counts --shard 2/4
    ...
    dense-hf merge counts

The tables, byte for byte, and the pictures are those of the same command without --shard. The parts stay in
counts/shards, and may be removed.

exit code: that of the run: 0 all files, 1 some could not be read, 2 none, or parts that are missing or not complete
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the program."""
    parser = subparsers.add_parser(
        "merge",
        help="put the parts of a run (--shard) together",
        description="Put the parts that `dense-hf count | localize --shard I/N` wrote together.",
        epilog=_MANUAL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the --output of the parts")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that no earlier run of this command has written, too"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Find out what the parts are of, and merge them."""
    from ..inference.shards import SHARDS
    from .sharding import RECORDS, merge_counts, merge_masks

    kinds = {RECORDS["count"]: merge_counts, RECORDS["localize"]: merge_masks}
    found = [name for name in kinds if any((args.output / SHARDS).glob(f"*/{name}"))]
    if len(found) != 1:
        received = "both" if found else "none"
        expected = f"{shown(args.output / SHARDS)} must have parts of `count` or of `localize`"
        raise CommandError(f"{expected}. Received: {received}")
    try:
        return kinds[found[0]](args.output, args.overwrite)
    except OSError as error:
        raise CommandError(f"cannot write the results: {shown(str(error))}") from error
    except ValueError as error:
        raise CommandError(shown(str(error))) from error
