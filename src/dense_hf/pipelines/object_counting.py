"""`pipeline("object-counting")`: count the objects of images and say where they are (thesis chapter 2).

This file is copied beside a saved pipeline, so it imports only such files: reading, tiling and merging are methods
of the image processor, which travels with the checkpoint.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np

from .image_pipeline import ImageProcessorPipeline, not_none

if TYPE_CHECKING:
    from PIL import Image


class CountedPoint(TypedDict):
    """One object: where it is in pixels of the image (x right, y down), and how sure the model is."""

    x: float
    y: float
    score: float


class ImageCount(TypedDict):
    """What the pipeline returns for one image; see [`ObjectCountingPipeline.__call__`]."""

    count: int
    points: list[CountedPoint]
    density_count: float | None
    density_map: NotRequired[np.ndarray]


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
    >>> pandas.DataFrame(result["points"]).to_csv("reef.csv")
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
        threshold: float | None = None,
        tile_batch_size: int | None = None,
        return_density_map: bool | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        forward = not_none(threshold=threshold, batch_size=tile_batch_size, return_density_map=return_density_map)
        return not_none(timeout=timeout), forward, {}

    def __call__(
        self,
        inputs: Any,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> ImageCount | list[ImageCount] | Iterator[ImageCount]:
        """
        Count the objects of one image or many.

        Args:
            inputs (`str`, `Path`, `PIL.Image`, or a list, dataset or generator of them):
                A path, a URL, a base64 string or an image. Orientation tags are applied.
            threshold (`float`, *optional*, defaults to 0.35):
                The least score that counts.
            batch_size (`int`, *optional*, defaults to 8):
                Tiles per forward pass. It changes speed and memory, not the count.
            return_density_map (`bool`, *optional*, defaults to `False`):
                Adds the density map.
            timeout (`float`, *optional*):
                Seconds to wait for a URL.

        Return:
            A dictionary for one image, a list of them for a list, an iterator for a dataset or generator.

            - **count** (`int`): The number of objects.
            - **points** (`list`): One `{"x", "y", "score"}` per object, best score first; pixels of the image, x
              right, y down. Empty for a model that only has a density branch.
            - **density_count** (`float` or `None`): The second opinion of the density branch.
            - **density_map** (float32 array `[height, width]`, if asked for): Objects per pixel. The sum over a region
              is the number of objects in it.
        """
        return super().__call__(inputs, tile_batch_size=batch_size, **kwargs)

    def preprocess(  # ty: ignore[incompatible-method-override]
        self, image: "str | os.PathLike | Image.Image", timeout: float | None = None
    ) -> dict[str, Any]:
        """Read the image. It is cut in `_forward`, batch by batch: all tiles of a large photo are gigabytes."""
        return {"image": self.image_processor.read_image(image, timeout)}

    def _forward(  # ty: ignore[incompatible-method-override]
        self, inputs: dict[str, Any], **settings: Any
    ) -> dict[str, Any]:
        return self.image_processor.count_objects(self.model, inputs["image"], **settings)

    def postprocess(  # ty: ignore[incompatible-method-override]
        self, result: dict[str, Any]
    ) -> ImageCount:
        """Tensors to plain numbers, ready for JSON and tables."""
        points = [
            CountedPoint(x=x, y=y, score=score)
            for (x, y), score in zip(result["points"].tolist(), result["scores"].tolist())
        ]
        output = ImageCount(count=result["count"], points=points, density_count=result["density_count"])
        if "density_map" in result:
            output["density_map"] = result["density_map"].numpy()
        return output
