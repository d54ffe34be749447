"""COCO: one JSON file with images, annotations and categories; boxes, polygons, run lengths or keypoints.

Sub-pixels: boxes [x, y, width, height], polygons and keypoints are pixels from the outer corner of the upper left one,
as cocodataset.org says and datumaro and supervision write. (Detectron2 takes keypoints for indices and adds 0.5.)

What an annotation counts as: its keypoint if its category has one; else its polygon, its mask, or its box. With
several keypoints an object is still one, at the centre of its box. An only keypoint with v = 0 was not set by the
person who drew the box: such an object is left out and counted. Measured against pycocotools 2.0.11, which keys
annotations by id: where ids begin anew in each picture, it keeps 5 of 12 objects. They are a list here.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_file
from .entries import BadEntry, class_name, flat_pairs, identity, items, mapping, named, number, numbers, size_of
from .names import written_split
from .reading import Picture, Reading
from .records import AnnotatedImage
from .runs import Pixels, counts_of_text, pixels_of_counts
from .shapes import around, centre_of

SUFFIXES = (".json",)


def is_coco(content: Any) -> bool:
    """Whether a document of JSON is one of COCO."""
    return isinstance(content, dict) and "images" in content and ("annotations" in content or "categories" in content)


def read(reading: Reading) -> None:
    """All JSON files."""
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            _read_file(reading, path)


def _read_file(reading: Reading, path: Path) -> None:
    content = mapping(reading.json(path), "document")
    if not is_coco(content) or "annotations" not in content:
        raise BadEntry("images, annotations and categories of COCO", sorted(content)[:10])
    categories: dict[int | str, str | None] = {}
    for item in items(content.get("categories", []), "categories"):
        with reading.entry(path, "categories"):
            category = mapping(item, "category")
            keypoints = len(items(category.get("keypoints") or [], "keypoints of a category"))
            if keypoints > 1 and category.get("name") == category.get("supercategory") == "default":
                raise BadEntry(
                    "COCO with an annotation per object. Label Studio keeps one point per class and picture, rounded, "
                    "when it exports points as COCO: export JSON instead",
                    "such a file",
                )
            key = identity(category.get("id"), "id of a category")
            if key in categories:
                raise BadEntry("each id of a category once", f"{key!r} twice")
            categories[key] = class_name(category.get("name"))
    pictures: dict[int | str, Picture] = {}
    for item in items(content["images"], "images"):
        with reading.entry(path, f"image {named(item)}"):
            image = mapping(item, "image")
            key = identity(image.get("id"), "id of an image")
            if key in pictures:
                raise BadEntry("each id of an image once", f"{key!r} twice")
            size = size_of(image.get("width"), image.get("height"))
            pictures[key] = reading.picture(image.get("file_name"), size, path, written_split(image.get("split")))
    for item in items(content["annotations"], "annotations"):
        where = f"annotation {named(item)}"
        with reading.entry(path, where):
            annotation = mapping(item, "annotation")
            picture = pictures.get(identity(annotation.get("image_id"), "image_id"))
            if picture is None:
                raise BadEntry("the id of one of the images", f"image_id {annotation['image_id']!r}")
            name = None
            if categories:
                category_id = identity(annotation.get("category_id"), "category_id")
                if category_id not in categories:
                    raise BadEntry("the id of one of the categories", f"category_id {category_id!r}")
                name = categories[category_id]
            _read_annotation(reading, picture, annotation, name, where)


def _read_annotation(
    reading: Reading, picture: Picture, annotation: Mapping[str, Any], name: str | None, where: str
) -> None:
    place = f"{picture.name}, {where}"
    if annotation.get("iscrowd"):
        reading.notice("marked as crowds (iscrowd), one object each", place)
    box = _box(annotation)
    mask = annotation.get("segmentation")
    pixels = pixels_of_coco(mask, picture.size) if isinstance(mask, dict) else None
    if annotation.get("keypoints"):
        values = numbers(annotation["keypoints"], "keypoints")
        if len(values) % 3:
            raise BadEntry("x, y, v of each keypoint", f"{len(values)} numbers")
        seen = [(values[i], values[i + 1]) for i in range(0, len(values), 3) if values[i + 2] > 0]
        real = box if box is not None and box[2] > box[0] and box[3] > box[1] else None
        if not seen and (len(values) == 3 or (real is None and not mask)):
            return reading.drop("keypoints that are not labelled (v = 0)", place)
        if not seen:
            reading.notice("objects none of whose keypoints is labelled (v = 0), by box or segmentation", place)
        elif len(values) == 3:
            return picture.add(seen[0], name, where, real, _parts(annotation, least=3), pixels)
        else:
            reading.notice("objects with several keypoints, one object each, at the centre of its box", place)
            centre = centre_of(around(seen) if real is None else real)
            return picture.add(centre, name, where, real, _parts(annotation, least=3), pixels)
    if pixels is not None:
        return picture.add_pixels(pixels, name, where)
    if parts := _parts(annotation, least=3):
        return picture.add_polygon(parts, name, where)
    if box is None:
        raise BadEntry("keypoints, a segmentation or a bbox", sorted(annotation))
    return picture.add_box(box, name, where)


def _box(annotation: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    if not annotation.get("bbox"):
        return None
    x, y, width, height = numbers(annotation["bbox"], "bbox", 4)
    return x, y, x + width, y + height


def _parts(annotation: Mapping[str, Any], least: int) -> list[list[tuple[float, float]]]:
    written = annotation.get("segmentation")
    if not written or isinstance(written, dict):
        return []
    return [
        flat_pairs(numbers(part, "part of a segmentation"), "part of a segmentation", least)
        for part in items(written, "segmentation")
    ]


def pixels_of_coco(mask: Mapping[str, Any], size: tuple[int, int] | None) -> Pixels:
    """Run lengths of COCO: column by column, size [height, width].

    Raises:
        BadEntry: of another size than the picture, or broken.
    """
    height, width = (int(value) for value in numbers(mask.get("size"), "size of a mask", 2))
    if size is not None and (width, height) != size:
        raise BadEntry(f"the size [height, width] of the picture, [{size[1]}, {size[0]}]", [height, width])
    counts = mask.get("counts")
    if isinstance(counts, str):
        runs = counts_of_text(counts)
    else:
        runs = np.array([number(one, "run length") for one in items(counts, "counts")], np.int64)
    return pixels_of_counts(runs, height, width, columns=True)


def write(records: Sequence[AnnotatedImage], path: Path) -> None:
    """One keypoint per object, with its box and its polygon where there is one.

    Raises:
        ValueError: a record without name.
    """
    names = list(dict.fromkeys(name or "object" for record in records for name in record.classes))
    images, annotations = [], []
    for image_id, record in enumerate(records, start=1):
        if record.image is None:
            raise ValueError(f"COCO needs the name of each picture. Received: none, with {len(record)} points")
        size = {} if record.size is None else {"width": record.size[0], "height": record.size[1]}
        split = {} if record.split is None else {"split": record.split}  # a key that other readers pass over
        images.append({"id": image_id, **size, "file_name": record.image, **split})
        for index, (x, y) in enumerate(record.points.tolist()):
            left, top, right, bottom = record.boxes[index].tolist()
            box = [x, y, 0, 0] if np.isnan(left) else [left, top, right - left, bottom - top]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": names.index(record.classes[index] or "object") + 1,
                    "keypoints": [x, y, 2],
                    "num_keypoints": 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "segmentation": [part.ravel().tolist() for part in record.polygons[index]],
                }
            )
    categories = [
        {"id": number, "name": name, "keypoints": ["point"], "skeleton": []} for number, name in enumerate(names, 1)
    ]
    document = {"images": images, "annotations": annotations, "categories": categories}
    write_file(path, json.dumps(document, allow_nan=False).encode())
