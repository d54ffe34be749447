"""An evaluation of a segmenter: the part `evaluation` of a YAML file (see `options.py`) and a command line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..options import parse_part
from ..weak_segmentation.dense_crf import DenseCRF
from ..weak_segmentation.multi_scale_segmenter import SCALES, STRIDE, WINDOW, MultiScaleSegmenter

PART = "evaluation"


@dataclass
class SegmentationEvaluationArguments:
    """What is evaluated, how, and where it goes. The defaults are the released test."""

    model: str = field(metadata={"help": "A folder or a name on the Hub."})
    data_dir: str = field(
        metadata={"help": "A folder in the layout of PASCAL VOC, or SPLIT/{images/,labels.csv,masks/}."}
    )
    split: str = field(default="validation", metadata={"help": "Which images; each must have a mask."})
    scales: list[float] = field(
        default_factory=lambda: list(SCALES), metadata={"help": "Factors of an image's sides."}
    )
    flip: bool = field(default=True, metadata={"help": "Whether mirrored images are segmented, too."})
    crf: bool = field(default=True, metadata={"help": "Whether a dense CRF refines the probabilities."})
    window: int = field(default=WINDOW, metadata={"help": "Side of the squares that the model sees, in pixels."})
    stride: int = field(default=STRIDE, metadata={"help": "From one square to the next, in pixels."})
    batch_size: int = field(default=4, metadata={"help": "Squares that are segmented at once."})
    save_predictions: str | None = field(
        default=None, metadata={"help": "A folder for label maps as PNG files.", "aliases": ["--predictions"]}
    )
    output: str | None = field(default=None, metadata={"help": "A JSON file for the numbers."})
    resume: bool = field(default=False, metadata={"help": "Go on with what a stopped evaluation kept by --output."})
    overwrite: bool = field(default=False, metadata={"help": "Replace an --output that no evaluation has written."})
    quiet: bool = field(default=False, metadata={"help": "No progress bars."})

    def settings(self) -> dict[str, Any]:
        """What changes predictions, besides the model and the images."""
        return {name: getattr(self, name) for name in ("scales", "flip", "crf", "window", "stride")}

    def segmenter(self, model: Any, processor: Any) -> MultiScaleSegmenter:
        """The model, as these settings use it.

        Raises:
            ValueError: settings that cannot be.
        """
        return MultiScaleSegmenter(
            model,
            processor,
            scales=self.scales,
            window=self.window,
            stride=self.stride,
            flip=self.flip,
            batch_size=self.batch_size,
            refine=DenseCRF() if self.crf else None,
        )


def parse_evaluation(
    manual: str | None = None, arguments: Sequence[str] | None = None
) -> SegmentationEvaluationArguments:
    """Read `--config FILE` and the options after it, which win over the file.

    Args:
        manual: what `--help` says before it lists the options.
        arguments: the command line; default is that of the process.

    Raises:
        InvalidDataError: The file has unknown keys.
        SystemExit: Options that do not exist or have values of the wrong type, as argparse does.
    """
    usage = "%(prog)s [--config FILE] --model MODEL --data_dir FOLDER [options]"
    (parsed,) = parse_part(PART, (SegmentationEvaluationArguments,), manual, arguments, usage)
    return parsed
