"""Find people, cars and trees in crops that the bundled checkpoint was not trained on, knowing only which are there.

    make demo                                                        # fetches the crops, then runs this, too
    python scripts/demo/demo_weak.py demo_data/weak_crops --output demo_output

The crops are real, and so are their image-level labels, as far as a program could tell; their masks are PSEUDO masks,
which nobody drew (see dataset_scripts/weak_crops.py). The model is a small MCIS that never saw a mask:
`make train-demo-weak` trains it, scripts/configs/mcis/crops.yaml is its recipe. For each class that a crop is known to
have, it says where: from the crop alone, and after co-attention with three others of its class (thesis section 3.3.2).

OUTPUT gets weak_maps.png, some crops of each class with their maps and masks (the same places in the list on every
run, not the best ones), and results_weak.json: how well the masks of all test crops agree with the PSEUDO masks,
beside two that need no model.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import runs
from crops_baselines import constant_labels
from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm
from train_demo_weak import ROWS, settings_of

from dense_hf.data import open_image, read_weak_split
from dense_hf.data.weak_folder import WeakFolder
from dense_hf.inference.checkpoints import load_mcis
from dense_hf.inference.class_names import order_labels
from dense_hf.inference.localization_maps import image_group
from dense_hf.training.comparison.weak_baselines import judge_labels, read_masks
from dense_hf.visualization import draw_attention, draw_labels, label_palette
from dense_hf.weak_segmentation import LocalizationSettings, Localizer, PseudoLabelSettings

# rows of the ablation, and what the picture calls them
ROUNDS = {"single_round": "alone", "full": "with three others"}
SIDE, GAP, HEADING = 192, 6, 26  # of the picture's tiles and what is between them, in pixels


@dataclass(frozen=True)
class Found:
    """What one way of localisation makes of a crop: a map of each of its classes, and its label; uint8 [H, W]."""

    maps: dict[int, np.ndarray]
    label: np.ndarray


def localize(model: Any, processor: Any, crops: WeakFolder, row: str) -> Iterator[Found]:
    """What a row of the ablation finds in each crop, in their order."""
    settings = settings_of(ROWS[row])
    rules = PseudoLabelSettings(**settings["pseudo_labels"])
    localization = LocalizationSettings(**settings["localization"])
    with Localizer(model, processor, image_group(crops), localization) as localizer:
        for crop in tqdm(crops.images, desc=ROUNDS[row], unit=" crops"):
            maps = localizer.attention(crop.name)
            yield Found(maps, rules(maps, None, len(crops.class_names), open_image(crop.path)))


def choose(crops: WeakFolder, per_class: int) -> list[int]:
    """Places of crops that have one class only, `per_class` of each class, evenly spread over the list."""
    chosen = []
    for class_id in range(len(crops.class_names)):
        places = [place for place, crop in enumerate(crops.images) if crop.labels == (class_id,)]
        chosen += [places[(2 * i + 1) * len(places) // (2 * per_class)] for i in range(min(per_class, len(places)))]
    return chosen


def picture_of(
    crops: WeakFolder, chosen: list[int], found: dict[str, list[Found]], masks: list[np.ndarray]
) -> Image.Image:
    """A row for each crop: the crop, a map of each way of localisation, the mask of the last, and the pseudo mask."""
    palette = label_palette(len(crops.class_names) + 1)
    alone, together = ROUNDS.values()
    heads = ("crop", f"map, {alone}", f"map, {together}", f"mask, {together}", "pseudo mask")
    step = SIDE + GAP
    sheet = Image.new("RGB", (len(heads) * step - GAP, HEADING + len(chosen) * step - GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, head in enumerate(heads):
        draw.text((column * step + SIDE / 2, HEADING / 2), head, fill="black", font=font, anchor="mm")
    for row, place in enumerate(chosen):
        crop = crops.images[place]
        ways = [found[name][place] for name in ROUNDS]
        tiles = [open_image(crop.path).convert("RGB")]
        tiles += [draw_attention(tiles[0], way.maps[crop.labels[0]]) for way in ways]
        for label in (ways[-1].label, masks[place]):
            without_background = np.where(label == 0, 255, label)
            tiles.append(draw_labels(tiles[0], without_background, palette=palette))
        for column, tile in enumerate(tiles):
            tile = tile.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            sheet.paste(tile, (column * step, HEADING + row * step))
    return sheet


def run(options: runs.Namespace) -> runs.Results:
    """Localize, draw and judge; the picture goes to the output.

    Raises:
        InvalidDataError: the crops are not there, or broken.
        OSError: there is no checkpoint.
        ValueError: a checkpoint of something else, or of other classes.
    """
    if options.per_class < 1:
        raise ValueError(f"--per_class must be at least 1. Received: {options.per_class}")
    crops = read_weak_split(options.data, "test", with_masks=True)
    model, processor = load_mcis(options.model)
    order_labels(model, crops.class_names, options.model)
    masks = list(read_masks(crops))
    found = {row: list(localize(model, processor, crops, row)) for row in ROUNDS}
    options.output.mkdir(parents=True, exist_ok=True)
    picture_of(crops, choose(crops, options.per_class), found, masks).save(options.output / "weak_maps.png")
    labels = {ROWS[row].title: [one.label for one in ways] for row, ways in found.items()}
    labels |= constant_labels(crops, masks)
    return {
        "checkpoint": Path(options.model).name,
        "num_crops": len(crops),
        "masks": "pseudo",
        "rows": {name: judge_labels(crops.class_names, given, masks) for name, given in labels.items()},
    }


def show(results: dict[str, Any]) -> None:
    """Print a table."""
    print(f"\n{results['num_crops']} test crops, whose classes are known, against pseudo masks (a program made them)")
    names = list(next(iter(results["rows"].values()))["per_class_iou"])
    print(f"{'IoU in percent':38s}{'mean':>8s}" + "".join(f"{name:>12s}" for name in names))
    for title, row in results["rows"].items():
        cells = "".join(f"{100 * row['per_class_iou'][name]:12.1f}" for name in names)
        print(f"{title:38s}{100 * row['mean_iou']:8.1f}{cells}")


def main(arguments: list[str] | None = None) -> int:
    """Localise, draw, judge, print; returns the exit status."""
    parser = runs.parser_of(__doc__, "weak_crops.py", "demo_output")
    parser.add_argument("--per_class", type=int, default=2, help="Crops of each class in the picture (default: 2).")
    return runs.run_demo(parser, arguments, "mcis-crops", run, show, "results_weak.json", "weak_maps.png")


if __name__ == "__main__":
    sys.exit(main())
