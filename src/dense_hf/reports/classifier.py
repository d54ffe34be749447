"""The card of a trained MCIS classifier: what was run, on which data, and the numbers of the results file."""

from pathlib import Path

from huggingface_hub import ModelCardData

from .model_card import RunDescription, how_it_was_made, measured, read_results, save_card, splits_of

_BODY = """# {title}

Finds where classes are in images of which only the classes are known, no boxes and no masks: the classifier of
chapter 3 (MCIS), which compares images that share a class. Trained with dense_hf, by image-level labels alone, on:
**{dataset}**.

Classes: {classes}.

```python
import dense_hf
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

# which classes
pipeline("image-classification", model="this/repository", function_to_apply="sigmoid")("image.jpg")

# where they are: localisation maps of an image whose classes are known, with other images as references
from dense_hf.data import open_image
from dense_hf.weak_segmentation import ImageGroup, Localizer

model = AutoModelForImageClassification.from_pretrained("this/repository").eval()
processor = AutoImageProcessor.from_pretrained("this/repository")
group = ImageGroup({{"a": [0], "b": [0]}}, read_image=lambda name: open_image(f"images/{{name}}.jpg"))
with Localizer(model, processor, group) as localizer:
    maps = localizer.maps("a")
```

## Results

{results}

These numbers judge the classifier, not its maps.

## Limits

- Maps and the pseudo masks made of them are guesses from image-level labels: they miss parts of objects and take in
  what always stands beside them (rails with trains, water with boats).
- A map is meaningful only for a class that is in the image.
- The method is of 2020. Its published result, 66.2 mIoU on PASCAL VOC 2012 val, is about 12 points behind today's best
  methods for image-level labels.
- The licence of these weights must allow what that of the training images, and of the ImageNet weights, allows.

{made}
"""


def write_weak_card(output_dir: Path, run: RunDescription, class_names: tuple[str, ...], license: str | None) -> None:
    """Write `README.md` beside the weights. All numbers come from `results.json` in the same folder.

    Without that file (a push in the middle of a run) the card says that there are no results yet.

    Args:
        output_dir: the folder.
        run: what was run.
        class_names: K names.
        license: of the weights, as the Hub names it; `None` says nothing.
    """
    results = read_results(output_dir)
    splits = splits_of(results)
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification",
        license=license,
        tags=["weakly-supervised-segmentation", "dense_hf", "mcis"],
        model_name=run.title,
        eval_results=measured("image-classification", run.dataset, splits, {"mean_average_precision": "mAP"}),
    )
    body = _BODY.format(
        title=run.title,
        dataset=run.training_data,
        classes=", ".join(class_names),
        results=_results(results, splits),
        made=how_it_was_made(run, "images"),
    )
    save_card(output_dir, data, body)


def _results(results: dict, splits: dict[str, dict[str, float]]) -> str:
    if not results:
        return "None yet: this run has not come to its end."
    rows = ["| split | images | mAP of the classes | loss of single images |", "|---|---|---|---|"]
    rows += [
        f"| {split} | {values['num_images']} | {100 * values['mean_average_precision']:.1f} | {values['loss']:.4f} |"
        for split, values in splits.items()
    ]
    table = "\n".join(rows) if splits else "None: no images to judge by."
    return (
        f"{table}\n\nThese are the weights after epoch {results['best_epoch']:.4g} of {results['epochs']:.4g}. "
        f"Seed {results['seed']}, one run."
    )
