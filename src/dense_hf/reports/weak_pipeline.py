"""The report of scripts/run_weak_pipeline.py: one HTML file with pictures, maps, masks and numbers, without scripts.

Everything is read from the files that the steps have written. Pictures are inside the file, so that it can be sent.
"""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.files import write_file
from ..data.images import open_image
from ..data.weak_folder import WeakFolder, WeakImage
from ..data.weak_source import mask_rule, read_weak_mask, read_weak_split
from ..visualization import draw_attention, draw_labels, label_palette
from .model_card import read_results

SIDE = 240  # of a picture in the report, in pixels, the longer one
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1b1f24 }
h1, h2 { font-weight: 600; line-height: 1.2 } h2 { margin-top: 2.5rem }
table { border-collapse: collapse; margin: 1rem 0 } caption { text-align: left; color: #57606a; padding: .3rem 0 }
td, th { padding: .25rem .8rem; border-bottom: 1px solid #d0d7de; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
figure { display: inline-block; margin: .2rem .6rem .2rem 0; vertical-align: top } img { display: block }
figcaption { font-size: 13px; color: #57606a } .row { border-top: 1px solid #d0d7de; padding: .8rem 0 }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .4em } code { font-size: 13px }
"""


def write_report(output: Path, data_dir: Path, train: WeakFolder, evaluation_split: str, num_images: int) -> Path:
    """Write OUTPUT/report.html.

    Args:
        output: folder of the run, all of whose steps are done.
        data_dir: the target set.
        train: all training images, those of extra sources behind those of the target set.
        evaluation_split: whose predictions are shown, or "none".
        num_images: the most images that are shown of each split.

    Returns:
        the file.
    """
    own, *extra = train.images_per_source()
    beside = f" and {sum(extra)} of extra sources" if extra else ""
    sections = [
        f"<h1>From image-level labels to masks</h1><p>{own} training images of {html.escape(str(data_dir))}{beside}, "
        f"{len(train.class_names)} classes. {_legend(train.class_names)}</p>",
        _steps(output / "steps"),
    ]
    if evaluation_split != "none":
        scores = read_results(output / "evaluation")
        title = f"Segmentation of the {evaluation_split} images"
        sections.append(f"<h2>{html.escape(title)}</h2>" + _numbers(scores) + _per_class(scores))
        sections.append(_predictions(output, read_weak_split(data_dir, evaluation_split, True), num_images))
    pseudo = read_results(output / "pseudo_labels", "pseudo_labels.json")
    sections += [
        "<h2>Pseudo labels of the training images</h2>" + _numbers(pseudo) + _per_class(pseudo.get("quality") or {}),
        _maps(output, train, num_images),
        "<h2>Classifier</h2>" + _numbers(read_results(output / "classifier")),
    ]
    head = f"<meta charset='utf-8'><title>From labels to masks</title><style>{STYLE}</style>"
    page = f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(sections)}</body></html>\n"
    write_file(output / "report.html", page.encode())
    return output / "report.html"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """Numbers are set to the right; texts are escaped."""
    if not rows:
        return ""
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption><tr>{names}</tr>{lines}</table>"


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{html.escape(str(value))}</td>"
    return f"<td class='number'>{value:{',' if isinstance(value, int) else '.4g'}}</td>"


def _numbers(results: dict[str, Any]) -> str:
    """The numbers of a results file that stand alone, and those in a mapping one level deep."""
    rows: list[tuple[str, Any]] = []
    for name, value in results.items():
        if isinstance(value, dict) and not name.startswith("per_class"):
            rows += [(f"{name}: {key}", number) for key, number in value.items() if isinstance(number, int | float)]
        elif isinstance(value, int | float):
            rows.append((name, value))
    return _table(("", ""), [(name.replace("_", " "), value) for name, value in rows])


def _per_class(results: dict[str, Any]) -> str:
    rows = [(label, "-" if iou is None else 100 * iou) for label, iou in results.get("per_class_iou", {}).items()]
    return _table(("class", "IoU, percent"), rows)


def _steps(folder: Path) -> str:
    records = {file.stem: read_results(folder, file.name) for file in folder.glob("*.json")}
    rows = [
        (name, " ".join([record["settings"]["script"], *record["settings"]["arguments"]]), record["seconds"])
        for name, record in sorted(records.items(), key=lambda item: item[1]["done"])
    ]
    return "<h2>Steps</h2>" + _table(("folder", "command", "seconds"), rows)


def _legend(class_names: Sequence[str]) -> str:
    colors = label_palette(len(class_names) + 1)[1:]
    return " ".join(
        f"<span><span class='swatch' style='background:rgb({r},{g},{b})'></span>{html.escape(name)}</span>"
        for name, (r, g, b) in zip(class_names, colors.tolist())
    )


def _figure(picture: Image.Image, caption: str) -> str:
    """An image of at most `SIDE` pixels, inside the page; small ones are enlarged."""
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    file = io.BytesIO()
    picture.convert("RGB").resize(size).save(file, "JPEG", quality=85)
    source = base64.b64encode(file.getvalue()).decode()
    image = f"<img alt='' src='data:image/jpeg;base64,{source}'>"
    return f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _chosen(folder: WeakFolder, count: int) -> list[WeakImage]:
    """Images of all classes in turn, the first ones of each, and never one twice."""
    waiting = [[image for image in folder.images if k in image.labels] for k in range(len(folder.class_names))]
    chosen: dict[str, WeakImage] = {}
    while len(chosen) < count and any(waiting):
        for images in waiting:
            if images and len(chosen) < count:
                image = images.pop(0)
                chosen[image.name] = image
    return list(chosen.values())


def _labels_figure(picture: Image.Image, mask: np.ndarray, class_names: Sequence[str], caption: str) -> str:
    """Labels over their image; the background, 0, has no color."""
    labels = np.where(mask == 0, 255, mask)
    return _figure(draw_labels(picture, labels, palette=label_palette(len(class_names) + 1)), caption)


def _row(picture: Image.Image, name: str, figures: Sequence[str]) -> str:
    return f"<div class='row'>{_figure(picture, name)}{''.join(figures)}</div>"


def _maps(output: Path, folder: WeakFolder, count: int) -> str:
    """Rows of image, maps and pseudo label."""
    refined = output / "refined_maps"
    maps_dir = refined if refined.is_dir() else output / "maps"
    rows = []
    for image in _chosen(folder, count):
        picture = open_image(image.path)
        names = {maps_dir / f"{image.name}_{label}.png": folder.class_names[label] for label in image.labels}
        figures = [
            _figure(draw_attention(picture, np.asarray(Image.open(file))), f"map of {name}")
            for file, name in names.items()
            if file.is_file()
        ]
        file = output / "pseudo_labels" / f"{image.name}.png"
        if file.is_file():
            figures.append(_labels_figure(picture, np.asarray(Image.open(file)), folder.class_names, "pseudo label"))
        rows.append(_row(picture, image.name, figures))
    return "".join(rows)


def _predictions(output: Path, folder: WeakFolder, count: int) -> str:
    """Rows of image, prediction and mask."""
    rule = mask_rule(folder.class_names)
    rows = []
    for image in _chosen(folder, count):
        file = output / "evaluation" / "predictions" / f"{image.name}.png"
        if file.is_file():
            picture = open_image(image.path)
            shown = {"prediction": np.asarray(Image.open(file)), "mask": read_weak_mask(image, rule)}
            figures = [_labels_figure(picture, mask, folder.class_names, name) for name, mask in shown.items()]
            rows.append(_row(picture, image.name, figures))
    return "".join(rows)
