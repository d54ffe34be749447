"""The card of a trained counting model: what was run, on which data, and the numbers of the results file."""

import re
from pathlib import Path

from ..markdown import table
from .model_card import RunDescription, measured, read_results, splits_of, which_weights, write_card

F1_KEY = re.compile(r"f1@[0-9.]+")
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
    distances = sorted({float(key[3:]) for values in splits.values() for key in values if F1_KEY.fullmatch(key)})
    names = METRIC_NAMES | {f"f1@{distance:g}": f"F1 at {distance:g} px" for distance in distances}
    rows = [
        [split, run.num_images.get(split, "?"), *(f"{values[key]:.2f}" if key in values else "-" for key in names)]
        for split, values in splits.items()
    ]
    numbers = table(("split", "images", *names.values()), rows)
    chosen = (
        ", the best of the evaluated ones by MAE on the validation images"
        if "validation" in results
        else ", the last; there were no validation images to choose by"
    )
    classes = [
        [split, name, *(f"{values[f'{key}/{name}']:.2f}" for key in METRIC_NAMES)]
        for split, values in splits.items()
        for name in results.get("class_names", ())
        if f"mae/{name}" in values
    ]
    parts = [
        f"Counts objects and points at them. Trained with dense_hf on: **{run.dataset}**.",
        _CODE,
        "## Results",
        numbers if splits else "None yet: this run has not come to its end.",
        *([table(("split", "class", *METRIC_NAMES.values()), classes)] if classes else []),
        which_weights(results, chosen),
    ]
    if "threshold" in results:
        found = results["threshold"]
        scores = " and ".join(f"{one:g}" for one in (found if isinstance(found, list) else [found]))
        parts.append(
            f"What scores at least {scores} counts: at that threshold the counts of the "
            f"{results.get('threshold_chosen_on', 'training')} images are best. It belongs to the processor and need "
            "not be given."
        )
    if results.get("count_by") == "density":
        parts.append(
            "The density branch says how many points there are, their scores which: no threshold needs to be given. "
            "With one, what scores at least that counts, as in the thesis."
        )
    eval_results = measured("object-counting", run.dataset, splits, names)
    tags = ["object-counting", run.tag]
    # the Hub knows its own tasks only, and this is the nearest: objects, and where they are
    write_card(output_dir, run, parts, tags, pipeline_tag="object-detection", eval_results=eval_results)
