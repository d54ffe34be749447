"""The card of a trained classifier of chapter 3: what was run, on which data, and the numbers of the results file."""

from pathlib import Path

from ..markdown import percent, table
from .model_card import RunDescription, measured, read_results, splits_of, which_weights, write_card

_BODY = """\
Finds where classes are in images of which only the classes are known, no boxes and no masks: {title}, a classifier of
images that share a class. Trained with dense_hf, by image-level labels alone, on: **{dataset}**.

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

To go on with the `Trainer` of transformers, on pairs of images (`paired_pixel_values`, `paired_labels`), set
`remove_unused_columns=False`."""

_LIMITS = (
    "Maps and the pseudo masks made of them are guesses from image-level labels: they miss parts of objects and take "
    "in what always stands beside them (rails with trains, water with boats).",
    "A map is meaningful only for a class that is in the image.",
    "The licence of these weights must allow what that of the training images, and of the ImageNet weights, allows.",
)


def write_weak_card(output_dir: Path, run: RunDescription, class_names: tuple[str, ...], license: str | None) -> None:
    """Write the card, see `write_card`.

    Args:
        output_dir: the folder.
        run: what was run.
        class_names: K names.
        license: of the weights, as the Hub names it; `None` says nothing.
    """
    results = read_results(output_dir)
    splits = splits_of(results)
    body = _BODY.format(
        title=run.title,
        dataset=run.training_data,
        classes=", ".join(class_names),
        results=_results(results, splits),
    )
    write_card(
        output_dir,
        run,
        [body],
        ["weakly-supervised-segmentation", run.tag],
        limits=_LIMITS,
        pipeline_tag="image-classification",
        license=license,
        eval_results=measured("image-classification", run.dataset, splits, {"mean_average_precision": "mAP"}),
    )


def _results(results: dict, splits: dict[str, dict[str, float]]) -> str:
    if not results:
        return "None yet: this run has not come to its end."
    rows = [
        (split, values["num_images"], percent(values["mean_average_precision"]), f"{values['loss']:.4f}")
        for split, values in splits.items()
    ]
    numbers = table(("split", "images", "mAP of the classes", "loss of single images"), rows)
    return f"{numbers if splits else 'None: no images to judge by.'}\n\n{which_weights(results)}"
