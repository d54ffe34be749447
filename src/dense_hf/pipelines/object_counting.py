"""`pipeline("object-counting")`: count the objects of images and say where they are (thesis chapter 2).

This file is copied beside a saved pipeline, so it imports only such files: reading, tiling and merging are methods
of the image processor, which travels with the checkpoint.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from .image_pipeline import ImageProcessorPipeline, not_none
from .picture_reading import check_pictures
from .picture_regions import RegionSums, count_regions, regions_of


class CountedPoint(TypedDict):
    """One object: where it is in pixels of the image (x right, y down), and how sure the model is.

    With the name of its class, if the model has several.
    """

    x: float
    y: float
    score: float
    label: NotRequired[str]


class RegionCount(TypedDict):
    """What is in a region. Of a model without points `count` is the sum of the density, so that regions add up."""

    name: str
    count: float
    density_count: float | None


class ImageCount(dict[str, Any]):
    """What the pipeline returns for one image: a dictionary, see [`ObjectCountingPipeline.__call__`].

    It can be had in the forms of other libraries, which need not be there otherwise.
    """

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a row for each object: x, y, score, and label of a model with several classes."""
        # by name: transformers wants all that a file beside a checkpoint imports, whether it is used or not
        pandas = import_module("pandas")
        columns = ["x", "y", "score", *(["label"] if "class_counts" in self else [])]
        return pandas.DataFrame(self["points"], columns=columns)

    def to_supervision(self, side: float = 0.0) -> Any:
        """A `supervision.Detections` with an object each, for its annotators, zones and trackers.

        Args:
            side: of the boxes around points, in pixels: what draws or counts centers needs none, a tracker that
                compares boxes does.
        """
        supervision = import_module("supervision")
        points = self["points"]
        centers = np.array([(point["x"], point["y"]) for point in points], np.float32).reshape(-1, 2)
        names = list(self.get("class_counts", ("object",)))
        labels = [point.get("label", names[0]) for point in points]
        return supervision.Detections(
            xyxy=np.concatenate([centers - side / 2, centers + side / 2], axis=1),
            confidence=np.array([point["score"] for point in points], np.float32),
            class_id=np.array([names.index(label) for label in labels], int),
            data={"class_name": np.array(labels, dtype=str)},
        )


class ObjectCountingPipeline(ImageProcessorPipeline):
    """
    Counts the objects of images of any size with a model like [`IOCFormerForObjectCounting`].

    Example:

    ```python
    >>> import dense_hf
    >>> from transformers import pipeline

    >>> counter = pipeline("object-counting", model="org/iocformer")
    >>> result = counter("reef.jpg")
    >>> result["count"]
    128
    >>> result["points"][0]
    {'x': 714.2, 'y': 95.8, 'score': 0.97}
    >>> result.to_pandas().to_csv("reef.csv")
    ```

    Settings can be given here, for all calls, or to the call; they are explained there.
    """

    image_processor: Any  # one that has `read_image` and `count_objects`

    def __init__(self, *args: Any, batch_size: int | None = None, **kwargs: Any):
        # `batch_size` of transformers is images per forward pass. Here the model sees tiles, and an image has many
        # of them: batches are made of the tiles of one image, so memory does not depend on the images.
        super().__init__(*args, tile_batch_size=batch_size, **kwargs)

    def _sanitize_parameters(  # ty: ignore[incompatible-method-override]
        self,
        threshold: float | list[float] | None = None,
        tile_batch_size: int | None = None,
        return_density_map: bool | None = None,
        regions: Any = None,
        timeout: float | None = None,
        page: int | None = None,
        white: float | str | None = None,
        bands: list[int] | None = None,
        nodata: float | None = None,
        level: float | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        forward = not_none(threshold=threshold, batch_size=tile_batch_size, return_density_map=return_density_map)
        forward |= not_none(regions=regions, level=level)
        return not_none(timeout=timeout, page=page, white=white, bands=bands, nodata=nodata), forward, {}

    def __call__(
        self,
        inputs: Any,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> ImageCount | list[ImageCount] | Iterator[ImageCount]:
        """
        Count the objects of one image or many.

        Args:
            inputs (`str`, `Path`, `PIL.Image`, array, tensor, or a list, dataset or generator of them):
                A path, a URL, a base64 string or an image; an array is uint8 `[H, W, 3]` (RGB) or `[H, W]`, a tensor
                uint8 `[3, H, W]`. Orientation tags are applied.
            threshold (`float` or `list[float]`, *optional*, defaults to that of the model, released: 0.35):
                The least score that counts, of all classes or of each.
            batch_size (`int`, *optional*, defaults to 8):
                Tiles per forward pass. It changes speed and memory, not the count.
            return_density_map (`bool`, *optional*, defaults to `False`):
                Adds the density map.
            regions (`list`, `dict` or array, *optional*):
                What is counted apart: boxes `(x0, y0, x1, y1)` or polygons `[(x, y), ...]` in pixels, with their
                names in a dictionary, or an array `[height, width]` of whole numbers, 0 for no region. A point on the
                border of two regions belongs to one of them.
            timeout (`float`, *optional*):
                Seconds to wait for a URL.
            page (`int`, *optional*):
                Which picture of a file with several (a stack, an animation), from 0; without it such a file is
                refused. Pages of a TIFF that are smaller copies or masks of another do not count.
            white (`float` or `str`, *optional*):
                The gray value of 16 bits that is white, such as 4095 of a camera of 12 bits, or "99.9%", the value
                that so many of the pixels do not exceed. By default 65535. Also of floating point values, which have
                none.
            bands (`list[int]`, *optional*):
                One band of a TIFF file, or three for red, green and blue, counted from 1.
            nodata (`float`, *optional*):
                The value of pixels of a TIFF file that are not seen, if the file does not say it. They are black.
            level (`float`, *optional*):
                Of the range around the count, one of those that the model was calibrated for with `dense-hf
                calibrate`. By default the first of these; a model that was not calibrated has no ranges.

        Return:
            A dictionary for one image, a list of them for a list, an iterator for a dataset or generator.

            - **count** (`int`): The number of objects.
            - **points** (`list`): One `{"x", "y", "score"}` per object, best score first; pixels of the image, x
              right, y down. Empty for a model that only has a density branch.
            - **class_counts** (`dict[str, int]`, of a model with several classes): The number of objects of each, by
              its name; points have their "label" then.
            - **density_count** (`float` or `None`): The sum of the density map.
            - **density_map** (float32 array `[height, width]`, if asked for): Objects per pixel. The sum over a region
              is the number of objects in it.
            - **regions** (`list`, if given): One `{"name", "count", "density_count"}` per region.
            - **range** (`(low, high)`), **level** (`float`), **unlike** (list of `str`), of a calibrated model: of so
              large a share of pictures like those of the calibration, the number of objects is within the range; and
              in what this picture is unlike them, in words, empty if it is not.

        Raises:
            TypeError: an input, or an item of a list, that is no image; before anything is counted.
            ValueError: an image that cannot be read, outputs of the model that are not finite, or a level that the
                model was not calibrated for.
        """
        if isinstance(inputs, (list, tuple)):
            check_pictures(inputs, addresses=True)
        elif isinstance(inputs, (bytes, bytearray, Mapping, np.ndarray, torch.Tensor)) or not isinstance(
            inputs, (str, os.PathLike, Image.Image, Iterable, Dataset)
        ):
            check_pictures([inputs], addresses=True)
        return super().__call__(inputs, tile_batch_size=batch_size, **kwargs)

    def preprocess(  # ty: ignore[incompatible-method-override]
        self, image: str | os.PathLike | Image.Image, timeout: float | None = None, **reading: Any
    ) -> dict[str, Any]:
        """Read the image. It is cut in `_forward`, batch by batch: all tiles of a large photo are gigabytes."""
        if isinstance(image, (str, os.PathLike)) and os.path.isfile(image):
            image, reading = _of_many_bands(image, reading)
        elif not {"bands", "nodata"}.isdisjoint(reading):
            raise ValueError(f"bands and nodata are for TIFF files. Received: {type(image).__name__}")
        return {"image": self.image_processor.read_image(image, timeout, **reading)}

    def _forward(  # ty: ignore[incompatible-method-override]
        self, inputs: dict[str, Any], regions: Any = None, **settings: Any
    ) -> dict[str, Any]:
        image = inputs["image"]
        if regions is None:
            return self.image_processor.count_objects(self.model, image, **settings)
        sums = RegionSums(regions_of(regions, image.width, image.height))
        result = self.image_processor.count_objects(self.model, image, on_density=sums.add, **settings)
        points = result["points"].numpy()
        found = count_regions(sums.regions, points, sums.sums, result["has_points"])
        return {**result, "regions": found}

    def postprocess(  # ty: ignore[incompatible-method-override]
        self, result: dict[str, Any]
    ) -> ImageCount:
        """Tensors to plain numbers, ready for JSON and tables."""
        points = [
            CountedPoint(x=x, y=y, score=score)
            for (x, y), score in zip(result["points"].tolist(), result["scores"].tolist())
        ]
        output = ImageCount(count=result["count"], points=points, density_count=result["density_count"])
        if len(result.get("class_counts", ())) > 1:
            names = self.model.config.id2label
            output["class_counts"] = {names[k]: number for k, number in enumerate(result["class_counts"])}
            for point, number in zip(points, result["classes"].tolist()):
                point["label"] = names[number]
        if "density_map" in result:
            output["density_map"] = result["density_map"].numpy()
        if "regions" in result:
            output["regions"] = result["regions"]
        if "range" in result:
            output |= {"range": list(result["range"]), "level": result["level"], "unlike": result["unlike"]}
        return output


def _of_many_bands(path: str | os.PathLike, reading: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A TIFF file that Pillow cannot show as it is meant as a picture, and how to read on; else both as they came."""
    asked = {name: reading[name] for name in ("bands", "nodata") if name in reading}
    try:
        from dense_hf.data.images import open_image, unusual_tiff
    except ImportError as error:  # the copy beside a checkpoint
        if asked:
            raise ValueError(f"bands and nodata need the package dense_hf. Received: {asked}") from error
        return path, reading
    if unusual_tiff(path, reading.get("page"), **asked) is None:
        return path, reading
    return open_image(path, **reading), {}
