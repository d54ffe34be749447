"""The card of a trained counting model: what was run, on which data, and the numbers of the results file."""

from pathlib import Path

from ..markdown import table
from .model_card import RunDescription, measured, read_results, splits_of, which_weights, write_card

METRIC_NAMES = {"mae": "MAE", "mse": "MSE (root)", "nae": "NAE"}

_CODE = """```python
import dense_hf
from transformers import pipeline

count = pipeline("object-counting", model="this/repository")
count("image.jpg")
```"""


def write_counting_card(output_dir: Path, run: RunDescription) -> None:
    """Write the card, see `write_card`."""
    results = read_results(output_dir)
    splits = splits_of(results)
    rows = [
        [split, run.num_images.get(split, "?"), *(f"{values[key]:.2f}" for key in METRIC_NAMES)]
        for split, values in splits.items()
    ]
    numbers = table(("split", "images", *METRIC_NAMES.values()), rows)
    chosen = (
        ", the best of the evaluated ones by MAE on the validation images"
        if "validation" in results
        else ", the last; there were no validation images to choose by"
    )
    parts = [
        f"Counts objects and points at them. Trained with dense_hf on: **{run.dataset}**.",
        _CODE,
        "## Results",
        numbers if splits else "None yet: this run has not come to its end.",
        which_weights(results, chosen),
    ]
    eval_results = measured("object-counting", run.dataset, splits, METRIC_NAMES)
    write_card(output_dir, run, parts, ["object-counting", run.tag], eval_results=eval_results)
