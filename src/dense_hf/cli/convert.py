"""`dense-hf convert`: a checkpoint of the authors' code in; a folder for `from_pretrained` out."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .errors import CommandError

_EXAMPLES = """\
examples:
  a checkpoint of IOCFormer, as the authors' training script wrote it
    dense-hf convert model_best.pth iocformer checkpoints/iocformer

  one that was trained with another number of attention heads, which the file does not tell
    dense-hf convert model_best.pth cltr checkpoints/cltr --set encoder_attention_heads=4

Only tensors and plain values are read; a file that carries code is refused.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the program."""
    from ..methods import converters

    parser = subparsers.add_parser(
        "convert",
        help="turn a checkpoint of the authors' code into one for from_pretrained",
        description="Turn a checkpoint of the authors' code into a folder for `from_pretrained` and `dense-hf count`.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="the authors' .pth file")
    parser.add_argument("architecture", metavar="ARCHITECTURE", help=f"what it is: {', '.join(converters())}")
    parser.add_argument("output", type=Path, metavar="OUTPUT_DIR", help="a new or empty folder")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="a field of the config that the file does not tell; may be repeated",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert, save the model with its processor, and tell what was found in the file."""
    from huggingface_hub.errors import StrictDataclassError

    from ..convert import convert_original_checkpoint
    from ..data import new_directory

    overrides = parse_settings(args.settings)
    try:
        with new_directory(args.output) as folder:
            model = convert_original_checkpoint(args.path, args.architecture, **overrides)
            model.save_pretrained(folder)
            image_processor(model.config).save_pretrained(folder)
    except (ValueError, OSError, ImportError, StrictDataclassError) as error:
        raise CommandError(str(error)) from error
    parameters = sum(parameter.numel() for parameter in model.parameters())
    inferred = {key: value for key, value in model.config.to_diff_dict().items() if key not in _UNINFORMATIVE}
    sys.stdout.write(f"{type(model).__name__} with {parameters:,} parameters in {args.output}\n")
    sys.stdout.write("found in the file, or set, and different from the defaults:\n")
    for key, value in inferred.items():
        sys.stdout.write(f"  {key} = {json.dumps(value)}\n")
    return 0


_UNINFORMATIVE = {"architectures", "dtype", "model_type", "transformers_version"}


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """["num_queries=500", "density_fusion=thesis"] -> {"num_queries": 500, "density_fusion": "thesis"}.

    Values are read as JSON (numbers, true, false, null, lists), and as text where they are none.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or not key.isidentifier():
            raise CommandError(f"--set takes KEY=VALUE. Received: {setting!r}")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text
    return values


def image_processor(config: Any) -> Any:
    """The processor that fits a converted model, with the pixel values that the authors' code gave it."""
    from ..methods import method_of

    of_config = {name: getattr(config, name) for name in ("tile_size",) if hasattr(config, name)}
    of_config |= getattr(config, "processor_settings", None) or {}
    return method_of(config).processor_class(**of_config)
