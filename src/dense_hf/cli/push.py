"""`dense-hf push`: a trained model in; a repository of the Hub out."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ..inference.console import say, shown
from .errors import CommandError

_MANUAL = """\
examples:
  once
    hf auth login

  see what would be uploaded, then upload it
    dense-hf push runs/iocformer your-name/iocformer --private --dry-run
    dense-hf push runs/iocformer your-name/iocformer --private

The folder is what a training script wrote, what `dense-hf convert` made or a folder of checkpoints/, with a card:
config.json, *.safetensors, preprocessor_config.json and README.md. A folder that lacks one of them, or some of the
weights, is refused before anything is sent. Code in the folder is not run; it is replaced by that of this version.

The repository gets, in one commit,

    *.safetensors, config.json, preprocessor_config.json   model and processor
    *.py                                                   their code, and that of their task
    README.md, results.json (if there is one)              card and evaluation results
    handler.py, requirements.txt                           what an Inference Endpoint runs, and needs

so that it loads with dense_hf, and without it by `trust_remote_code=True`, also with `pipeline`. Nothing else of the
folder is sent: no optimizer, no checkpoints, no training arguments.

An upload that was interrupted left the repository as it was; run the command again. Large files that had arrived are
not sent twice. A second upload replaces the first, whose state stays in the history.

exit code: 0 uploaded (or, with --dry-run, listed), 2 refused, or the Hub could not be reached
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the program."""
    parser = subparsers.add_parser(
        "push",
        help="upload a trained model to the Hub, with the code that others need to load it",
        description="Upload a trained model to the Hub, with the code that others need to load it.",
        epilog=_MANUAL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder with a trained model and its card")
    parser.add_argument("repo", metavar="REPO", help="name of the repository, your-name/model; it is made if needed")
    parser.add_argument("--private", action="store_true", help="make it private; a public one is refused")
    parser.add_argument("--dry-run", action="store_true", help="only list what this command would upload without it")
    parser.add_argument(
        "--message",
        default="Upload a model of dense_hf",
        help='of the commit (default: "Upload a model of dense_hf")',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the folder, collect what belongs to it, list or upload that."""
    from huggingface_hub.utils import validate_repo_id
    from transformers.utils import logging

    from ..data import push_folder
    from ..export.hub import collect_repository

    logging.disable_progress_bar()
    try:
        validate_repo_id(args.repo)
        with tempfile.TemporaryDirectory() as work:
            files = collect_repository(args.folder, Path(work), args.repo)
            for file in files:
                say(f"{(Path(work) / file).stat().st_size:>12,}  {file}")
            if args.dry_run:
                kind = "private " if args.private else ""
                say(f'{len(files)} files for {kind}{args.repo}, "{shown(args.message)}"; nothing was uploaded')
                return 0
            address = push_folder(work, args.repo, args.private, repo_type="model", message=args.message)
    except (OSError, RuntimeError, ValueError) as error:
        raise CommandError(shown(str(error))) from error
    say(f"Uploaded: {address}")
    return 0
