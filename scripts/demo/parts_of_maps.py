"""Why are masks of several pictures worse than those of one? The maps of a trained MCIS, part by part.

    python scripts/demo/parts_of_maps.py data/camvid_crops "cosine, seed 1=runs/camvid_crops/mcis_cosine/seed_1/model"

Masks of the validation pictures, as `dense-hf compare` makes them with a background score of 0, of maps that come
from the picture alone, from its co-attention with itself, with other pictures of its class, with its own mirror image
and other sizes, and of all that are put together as released. A released MCIS has two layers that make maps, the
second for co-attention: also of the second one for the picture alone, and of the first one for co-attention. Their
mIoU in percent, and how uneven a map is: its standard deviation over positions by its mean. results_page.py makes a
table of --output.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from dense_hf.data import open_image, read_weak_split, write_file
from dense_hf.data.weak_source import mask_rule, read_weak_mask
from dense_hf.inference.checkpoints import load_mcis
from dense_hf.inference.localization_maps import image_group
from dense_hf.markdown import percent, table
from dense_hf.metrics import PseudoLabelQuality
from dense_hf.training.comparison.weak_recipes import PSEUDO_LABELS
from dense_hf.weak_segmentation import LocalizationSettings, Localizer, PseudoLabelSettings
from dense_hf.weak_segmentation.pseudo_labels import aggregate_maps, resize_map

ROOT = Path(__file__).parents[2]
Maps = Mapping[int, Tensor]


def parts_of(alone: Localizer, together: Localizer) -> dict[str, Callable[[str], Maps]]:
    """What the maps [V, h, w] of each class of a picture are made of."""

    def with_itself(name: str) -> Maps:
        own = {class_id: [name] for class_id in together.group.labels[name]}
        return {class_id: maps[-1:] for class_id, maps in together.maps(name, references=own).items()}

    def by_second_layer(name: str) -> Maps:
        model, pixels = alone.model, alone.processor(alone.group.read_image(name), return_tensors="pt")
        with torch.no_grad():
            maps = model.common_maps(model.extract_features(pixels["pixel_values"].to(model.device)))[0]
        return {class_id: maps[class_id, None] for class_id in alone.group.labels[name]}

    def by_first_layer(maps_of: Callable[[str], Maps]) -> Callable[[str], Maps]:
        def maps(name: str) -> Maps:
            config, kept = together.model.config, together.model.config.shared_class_head
            config.shared_class_head = True
            try:
                return maps_of(name)
            finally:
                config.shared_class_head = kept

        return maps

    return {
        "picture alone": alone.maps,
        "alone, second layer": by_second_layer,
        "with itself": with_itself,
        "with others": lambda name: {class_id: maps[-1:] for class_id, maps in together.maps(name).items()},
        "with its views": lambda name: {class_id: maps[:-1] for class_id, maps in together.maps(name).items()},
        "all, as released": together.maps,
        "with itself, first layer": by_first_layer(with_itself),
        "all, first layer": by_first_layer(together.maps),
    }


def section(results: Mapping[str, Any]) -> str:
    """The table of docs/results.md."""
    names = list(next(iter(results["rows"].values())))
    lines = [
        (row, *(f"{percent(parts[name]['mean_iou'])} ({parts[name]['unevenness']:.2f})" for name in names))
        for row, parts in results["rows"].items()
    ]
    about = "mIoU of masks of the validation pictures in percent (unevenness of the maps)."
    return f"{results['pictures']} pictures. {about}\n\n" + table(("", *names), lines, "lr")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with a split val of labeled pictures and their masks")
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER", help="trained models, and what they are called")
    default = ROOT / "docs" / "results" / "parts_of_maps.json"
    parser.add_argument("--output", type=Path, default=default, metavar="FILE", help="default: in docs/results")
    options = parser.parse_args(arguments)
    images = read_weak_split(options.data, "val", with_masks=True)
    labeled = [image for image in images.images if image.labels]
    rule, make_mask = mask_rule(images.class_names), PseudoLabelSettings(**PSEUDO_LABELS, background_score=0.0)
    rows = {}
    for title, folder in (one.split("=", 1) for one in options.models):
        model, processor = load_mcis(Path(folder))
        group = image_group(images)
        alone, together = (
            Localizer(model, processor, group, settings)
            for settings in (LocalizationSettings(num_references=0), LocalizationSettings())
        )
        rows[title] = {}
        with alone, together:
            for name, maps_of in parts_of(alone, together).items():
                quality, unevenness = PseudoLabelQuality(rule.num_labels), []
                for image in tqdm(labeled, desc=f"{title}, {name}", unit="image", disable=None):
                    picture = open_image(image.path)
                    maps = {class_id: aggregate_maps(one) for class_id, one in maps_of(image.name).items()}
                    unevenness += [float(one.std() / max(one.mean(), 1e-8)) for one in maps.values()]
                    attention = {
                        class_id: resize_map(one, (picture.height, picture.width)) for class_id, one in maps.items()
                    }
                    found = make_mask(attention, None, rule.num_labels - 1, picture)
                    quality.update([found], [read_weak_mask(image, rule)])
                numbers = {"mean_iou": quality.compute()["mean_iou"], "unevenness": float(np.mean(unevenness))}
                rows[title][name] = {key: float(f"{value:.4f}") for key, value in numbers.items()}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_file(options.output, (json.dumps({"pictures": len(labeled), "rows": rows}, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
