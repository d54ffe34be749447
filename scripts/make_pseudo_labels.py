"""Make pseudo labels of images from their localisation maps (thesis section 3.3.2). This text is the manual.

    python scripts/make_pseudo_labels.py --maps maps/mcis --data_dir data/VOC2012 --saliency data/saliency \\
        --output pseudo_labels/mcis
    python scripts/make_pseudo_labels.py --maps maps/mcis --data_dir data/own --background_score 0.3 --crf ...

--maps is a folder of scripts/make_maps.py, or of scripts/refine_maps.py: NAME_ID.png for each class of each image.
--data_dir is the data they are of. What is background says, one of

    --saliency DIR            NAME.png of 8 bits, gray, at the size of the image, 255 for what stands out (released).
                              Images that have none get no pseudo label and are listed, as released.
    --background_score 0.2    a constant; the class with the highest score above it wins (section 3.4.4). By default
                              that of the classifier that made the maps, which is 0.2 if nobody chose another
    --background_power 4      (1 - highest score of a class) ^ 4

The last two may be refined with --crf: the dense CRF ([`DenseCRF`], released values) is given the scores of background
and classes as probabilities, and the highest of what it makes of them wins. Pixels where two classes were certain
before stay ignored. Without saliency, an image without a class is all background; with it, what is salient in such
an image is ignored, and with that the whole image. An image whose classes have less than --min_object_share of its
pixels is ignored as a whole.

Maps that were made with --extra_sources need the same option here: their images get labels, too (those with saliency,
if it says what is background), but there are no masks to judge them by.

LABELS gets NAME.png with the colours of PASCAL VOC: 0 background, class id + 1, 255 for pixels that nobody should
learn from; settings.json; and at the end pseudo_labels.json: the number of images of the target set and of each
extra source, pixels of each class, which images were skipped, ignored as a whole or without a class, and, where the
target set has masks, the quality of the labels per class (--masks no leaves it out). Stopped, the same command goes on
where it was. A folder whose labels were made otherwise is refused.

With --config FILE, the part "pseudo_labels" of the file says the same; options on the command line win.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dense_hf.data.weak_source import read_weak_training, weak_masks_dir
from dense_hf.inference.console import say
from dense_hf.inference.evaluations import weak_split_of
from dense_hf.inference.localization_maps import background_score_of
from dense_hf.inference.processes import one_line_errors
from dense_hf.inference.pseudo_label_files import LabelMaker, make_labels
from dense_hf.options import parse_part
from dense_hf.training.extra_sources import ExtraSources
from dense_hf.weak_segmentation import PseudoLabelSettings

MASKS = ("auto", "no")


@dataclass
class PseudoLabelArguments:
    """What labels are made of, and where they go."""

    maps: str = field(metadata={"help": "A folder of localisation maps."})
    data_dir: str = field(metadata={"help": "The images and their classes."})
    output: str = field(metadata={"help": "A folder for the labels, new or begun by the same command."})
    split: str = field(default="train", metadata={"help": "Of the data."})
    saliency: str | None = field(default=None, metadata={"help": "A folder of saliency maps. Default: none."})
    masks: str = field(default="auto", metadata={"help": "Compare with masks where there are: auto or no."})
    num_workers: int = field(default=0, metadata={"help": "Processes beside this one; the result is the same."})
    resume: bool = field(
        default=True, metadata={"help": "Go on with an OUTPUT that was begun; --no_resume refuses one."}
    )
    quiet: bool = field(default=False, metadata={"help": "No progress bar."})

    def __post_init__(self):
        if self.masks not in MASKS:
            raise ValueError(f"masks must be one of {', '.join(MASKS)}. Received: {self.masks}")
        if self.num_workers < 0:
            raise ValueError(f"num_workers must be at least 0. Received: {self.num_workers}")


@dataclass(frozen=True)
class PseudoLabelOptions(PseudoLabelSettings):
    """As there, but the score of the background is by default that of the classifier that made the maps."""

    background_score: float | None = field(  # ty: ignore[invalid-attribute-override]
        default=None, metadata={"help": "Without saliency: the score of the background. Default: the classifier's."}
    )

    def __post_init__(self):
        if self.background_score is not None:
            super().__post_init__()

    def settings_for(self, maps: str) -> PseudoLabelSettings:
        """The settings for a folder of maps."""
        numbers = asdict(self)
        if self.background_score is None:
            numbers["background_score"] = background_score_of(maps)
        return PseudoLabelSettings(**numbers)


@one_line_errors
def main() -> None:
    """Read, combine, write."""
    classes = (PseudoLabelArguments, ExtraSources, PseudoLabelOptions)
    arguments, extra, options = parse_part("pseudo_labels", classes, __doc__)
    if arguments.saliency is not None and options.background_score is not None:
        received = f"--background_score {options.background_score:g} beside --saliency"
        raise ValueError(f"what is background says either saliency or a score, not both. Received: {received}")
    split = weak_split_of(arguments.data_dir, arguments.split)
    images = read_weak_training(arguments.data_dir, extra.sources, split)
    maker = LabelMaker(
        images.class_names,
        Path(arguments.maps),
        Path(arguments.output),
        options.settings_for(arguments.maps),
        saliency=None if arguments.saliency is None else Path(arguments.saliency),
        masks=weak_masks_dir(arguments.data_dir, split) if arguments.masks == "auto" else None,
    )
    summary = make_labels(maker, images, arguments.num_workers, not arguments.quiet, arguments.resume)
    say(f"{summary['num_labels']} pseudo labels of {summary['num_images']} images are in {arguments.output}")
    if summary["quality"] is not None:
        say(quality_table(summary["quality"]))


def quality_table(quality: dict[str, Any]) -> str:
    """A row for each class, in percent, and the means."""
    rows = ["| Class | IoU | Precision | Recall |", "| --- | --- | --- | --- |"]
    for name in quality["per_class_iou"]:
        row = (100 * quality[f"per_class_{kind}"][name] for kind in ("iou", "precision", "recall"))
        rows.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in row) + " |")
    means = (100 * quality[f"mean_{name}"] for name in ("iou", "precision", "recall"))
    rows.append("| mean | " + " | ".join(f"{value:.1f}" for value in means) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
