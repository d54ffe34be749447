"""`dense-hf export`: a trained model in; files for onnxruntime or `torch.export` out."""

import argparse
from pathlib import Path
from typing import Any

from ..inference.console import say, shown
from .errors import CommandError

_MANUAL = """\
examples:
  an ONNX file, and the same tables as `dense-hf count` from it, on a machine without torch
    dense-hf export checkpoints/iocformer exported --to onnx
    python -m dense_hf.export.runtime exported survey --output counts

  a video model for frames of 480 x 854 pixels
    dense-hf export checkpoints/cffm exported --to onnx --size 480x854

  weights of 8 bits, and programs of torch.export
    dense-hf export checkpoints/iocformer small --to onnx --int8
    dense-hf export checkpoints/iocformer programs --to torch

files in the output folder:
  export.json     names and shapes of inputs and outputs, the settings of the processor, how far each file is from
                  the model
  model.onnx      counters: pixel_values in; logits, pred_points, density_map, blob_logits out, what the model has.
                  Segmenters of images: logits. Classifiers: logits, activation_maps; pair.onnx for pairs of images
  clip.onnx, first_frame.onnx, next_frame.onnx
                  models that look back at earlier frames: a whole clip; a frame alone; a frame with the state_* of
                  earlier ones as reference_*. `dense_hf.export.runtime.ExportedVideo` keeps them

The batch may have any size. So may images, but for tiles (IOCFormer), and for frames of models that look back: the
places of their windows and tokens are computed when the file is made (--size).

Each file is compared with the model, on another batch and size than it was made with, before the folder appears.
--int8 changes results; export.json says how far (int8_difference), on noise. Compare counts on your own images.

exit code: 0 exported, 2 not possible
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the program."""
    parser = subparsers.add_parser(
        "export",
        help="write a trained model as ONNX or as programs of torch.export",
        description="Write a trained model as ONNX files (pip install dense_hf[onnx]) or programs of torch.export.",
        epilog=_MANUAL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its name on the Hub")
    parser.add_argument("output", type=Path, metavar="OUT", help="a new or empty folder")
    parser.add_argument("--to", choices=("onnx", "torch"), default="onnx", help="format (default: onnx)")
    parser.add_argument("--int8", action="store_true", help="weights of 8 bits: smaller files, other results")
    parser.add_argument(
        "--size",
        type=_size,
        metavar="HxW",
        help="height and width of the frames of a video model (default: of a frame of 16:9 as the model sees it)",
    )
    parser.set_defaults(run=run)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"not a size such as 480x854: {text}")
    return int(height), int(width)


def run(args: argparse.Namespace) -> int:
    """Export, and say what there is."""
    from ..export.files import export_model

    try:
        document = export_model(args.model, args.output, args.to, args.int8, args.size)
    except (OSError, ValueError, ImportError) as error:
        raise CommandError(shown(str(error))) from error
    for graph in document["graphs"].values():
        size = (args.output / graph["file"]).stat().st_size
        told = (
            f"int8, off by {graph['int8_difference']:.1g}"
            if args.int8
            else f"off by {graph['largest_difference']:.1g}"
        )
        say(f"{size:>12,}  {graph['file']} ({told}): {', '.join(graph['inputs'])} -> {', '.join(graph['outputs'])}")
    say(f"Exported to {shown(args.output)}")
    return 0
