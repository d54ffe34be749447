"""The card of a trained counting model: what was run, on which data, and the numbers of the results file."""

from pathlib import Path

from huggingface_hub import ModelCardData

from .model_card import RunDescription, how_it_was_made, measured, read_results, save_card, splits_of

METRIC_NAMES = {"mae": "MAE", "mse": "MSE (root)", "nae": "NAE"}


def write_counting_card(output_dir: Path, run: RunDescription) -> None:
    """Write `README.md` beside the weights. All numbers come from `results.json` in the same folder.

    Without that file (a push in the middle of a run) the card says that there are no results yet.
    """
    results = read_results(output_dir)
    splits = splits_of(results)
    data = ModelCardData(
        library_name="transformers",
        tags=["object-counting", "dense_hf", "iocformer"],
        model_name=run.title,
        eval_results=measured("object-counting", run.dataset, splits, METRIC_NAMES),
    )
    table = ["| split | images | MAE | MSE (root) | NAE |", "|---|---|---|---|---|"]
    for split, values in splits.items():
        numbers = " | ".join(f"{values[key]:.2f}" for key in METRIC_NAMES)
        table.append(f"| {split} | {run.num_images.get(split, '?')} | {numbers} |")
    body = f"""# {run.title}

Counts objects and points at them. Trained with dense_hf on: **{run.dataset}**.

```python
import dense_hf
from transformers import pipeline

count = pipeline("object-counting", model="this/repository")
count("image.jpg")
```

## Results

{chr(10).join(table) if splits else "None yet: this run has not come to its end."}

{_selection(results)}

{how_it_was_made(run, "images")}
"""
    save_card(output_dir, data, body)


def _selection(results: dict[str, object]) -> str:
    if "best_epoch" not in results:
        return ""
    chosen = (
        "the best of the evaluated ones by MAE on the validation images"
        if "validation" in results
        else "the last; there were no validation images to choose by"
    )
    return (
        f"These are the weights after epoch {results['best_epoch']:.4g} of {results['epochs']:.4g}, {chosen}. "
        f"Seed {results['seed']}, one run."
    )
