"""The card of a trained segmenter: what its labels were, what was run, and the numbers of the results file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..data.files import read_bytes
from ..errors import InvalidDataError
from ..inference.pseudo_label_files import SETTINGS_FILE
from ..markdown import percent, table
from .model_card import RunDescription, code_with_model, measured, read_results, splits_of, which_weights, write_card

MAX_SETTINGS_BYTES = 2**16

METRIC_NAMES = {"mean_iou": "mIoU", "pixel_accuracy": "pixel accuracy"}

_CODE = """
image = Image.open("image.jpg")
outputs = model(**processor(image, return_tensors="pt"))
labels = processor.post_process_semantic_segmentation(outputs, target_sizes=[(image.height, image.width)])[0]
"""


@dataclass(frozen=True)
class LabelSource:
    """What a segmenter has learned from.

    Attributes:
        drawn: whether people have drawn the labels; else they are pseudo labels.
        description: what made them, or where they are from.
        settings: what their folder says about how they were made; empty if it says nothing.
    """

    drawn: bool
    description: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_text(self) -> str:
        """A sentence or two for a reader who knows nothing, and the settings."""
        if self.drawn:
            return (
                f"Its training labels are **masks that people have drawn** ({self.description}): this is the fully "
                "supervised upper bound, no result of weak supervision."
            )
        text = (
            f"Its training labels are **pseudo labels** ({self.description}): masks that a program has made, from "
            "image-level labels as a rule. Nobody has drawn or checked them, and their errors are learned, too."
        )
        if not self.settings:
            return text
        return f"{text} They were made with:\n\n```yaml\n{yaml.safe_dump(dict(self.settings)).strip()}\n```"


def read_label_settings(labels_dir: Path) -> dict[str, Any]:
    """What a folder of `make_pseudo_labels.py` says about how its labels were made; nothing of other folders.

    Raises:
        InvalidDataError: the file is no JSON object.
    """
    path = labels_dir / SETTINGS_FILE
    if not path.exists():
        return {}
    content = read_bytes(path, MAX_SETTINGS_BYTES)
    try:
        settings = json.loads(content)
    except ValueError as error:
        raise InvalidDataError(path, "a JSON object", error) from error
    if not isinstance(settings, dict):
        raise InvalidDataError(path, "a JSON object", f"{settings!r:.100}")
    return settings


def write_segmenter_card(output_dir: Path, run: RunDescription, labels: LabelSource) -> None:
    """Write the card, see `write_card`."""
    results = read_results(output_dir)
    parts = [
        f"Gives every pixel of an image a class. Trained with dense_hf on: **{run.training_data}**.",
        labels.as_text(),
        code_with_model("AutoModelForSemanticSegmentation", _CODE),
        "## Results",
        results_text(results),
    ]
    tags = ["image-segmentation", "deeplab", *([] if labels.drawn else ["weakly-supervised"])]
    eval_results = measured("image-segmentation", run.dataset, splits_of(results), METRIC_NAMES)
    write_card(output_dir, run, parts, tags, pipeline_tag="image-segmentation", eval_results=eval_results)


def results_text(results: dict) -> str:
    """Numbers in percent, and which weights they are of."""
    if "steps" not in results:
        return "None: this run has not come to its end."
    which = which_weights(results, further="")
    if "validation" not in results:
        return f"None: there was no evaluation (`eval_strategy`). {which}"
    return (
        "Against masks that people have drawn, one scale, not mirrored, without a CRF, one run. "
        f"{which}\n\n{scores_table(results['validation'])}"
    )


def scores_table(values: dict) -> str:
    """A Markdown table: mean IoU and pixel accuracy, then the IoU of each class, in percent; a dash for absent."""
    rows = [(name, values[key]) for key, name in METRIC_NAMES.items()]
    rows += [(f"IoU of {name}", share) for name, share in values["per_class_iou"].items()]
    return table((f"{values['num_images']} images", "%"), ((name, percent(share)) for name, share in rows))
