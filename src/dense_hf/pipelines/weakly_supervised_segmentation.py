"""`pipeline("weakly-supervised-segmentation")`: masks of related images whose classes are known (thesis chapter 3).

This file is copied beside a saved pipeline, so it imports only such files: maps and masks are made by a method of
the image processor, which travels with the checkpoint.

H, W: height and width of an image as it came; K: number of classes, without the background.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NotRequired, TypedDict

import numpy as np
from PIL import Image

from .image_pipeline import ImageProcessorPipeline, class_shares, not_none
from .picture_reading import check_pictures, read_picture

SETTINGS = ("num_references", "use_views", "seed", "background_score", "background_power", "crf", "threshold")
READING = {"page": None, "white": None}.keys()


class ImageSegmentation(TypedDict):
    """What the pipeline returns for one image; see [`WeaklySupervisedSegmentationPipeline.__call__`]."""

    labels: list[str]
    segmentation: np.ndarray
    maps: dict[str, np.ndarray]
    class_statistics: dict[str, float]
    remark: NotRequired[str]


class WeaklySupervisedSegmentationPipeline(ImageProcessorPipeline):
    """
    Segments a group of related images with a classifier like [`MCISForImageClassification`], which never saw a mask.

    Images that share a class are compared with each other, so a group gives better masks than single images.

    Example:

    ```python
    >>> import dense_hf
    >>> from transformers import pipeline

    >>> segmenter = pipeline("weakly-supervised-segmentation", model="org/mcis")
    >>> results = segmenter(["a.jpg", "b.jpg", "c.jpg"], labels=[["cat"], ["cat", "dog"], ["dog"]])
    >>> results[1]["class_statistics"]
    {'background': 0.61, 'dog': 0.22, 'cat': 0.17}
    ```

    Settings can be given here, for all calls, or to the call; they are explained there.
    """

    model: Any  # an MCIS
    image_processor: Any  # one that has `segment_group`

    def _sanitize_parameters(self, **settings: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        known = (*SETTINGS, *READING)
        if unknown := settings.keys() - known:
            raise TypeError(f"The settings are {', '.join(known)}. Received: {', '.join(sorted(unknown))}")
        reading = {name: settings.pop(name) for name in READING & settings.keys()}
        return not_none(**reading), not_none(**settings), {}

    def __call__(
        self, inputs: Any, labels: Any = None, saliency: Any = None, **kwargs: Any
    ) -> ImageSegmentation | list[ImageSegmentation]:
        """
        Segment a group of images.

        Args:
            inputs: A list of images, or of `{"image": ..., "labels": ...}` (and `"saliency"`); or a single one, which
                is then compared with itself. An image is a `PIL.Image`, a uint8 array `[H, W, 3]` (RGB) or `[H, W]`, a
                uint8 tensor `[3, H, W]`, or a path. Orientation tags are applied.
            labels (`list`, *optional*): For each image its classes, as names or ids; `[]` if it has none, then all of
                it is background. Without labels, or where they are `None`, the classes that the classifier itself
                finds in the image on its own.
            saliency (`list`, *optional*): For each image what stands out, as gray images, uint8 arrays `[H, W]` or
                paths; 255 is the most. With it the released rules decide what is background.
            num_references (`int`, *optional*, defaults to 3): Images with the same class that each one is compared
                with. 0 looks at each image alone.
            use_views (`bool`, *optional*, defaults to `True`): Whether each is also compared with changed copies of
                itself.
            seed (`int`, *optional*, defaults to 0): Of the references.
            background_score (`float`, *optional*): Without saliency: what a class must exceed. By default the score in
                the model's configuration, which may have one of its own for `num_references=0`.
            background_power (`float`, *optional*): Without saliency, instead of the score: the background's is
                (1 - highest score of a class) ^ `background_power`.
            crf (`bool`, *optional*, defaults to `False`): Without saliency: whether masks follow the image's edges.
            threshold (`float`, *optional*, defaults to 0.5): The sigmoid from which on the classifier finds a class.
            page (`int`, *optional*): Which picture of a file with several, from 0; without it such a file is refused.
                Pages of a TIFF that are smaller copies or masks of another do not count.
            white (`float` or `str`, *optional*): The gray value of 16 bits, or the floating point value, that is
                white, such as 4095, or "99.9%", the value that so many of the pixels do not exceed. Without it files
                of more than 8 bits are refused.

        Return:
            A list, or one dictionary for one image:

            - **labels** (`list[str]`): Names of its classes, those that were given or found.
            - **segmentation** (uint8 array `[H, W]`): 0 background, class id + 1, 255 where it is not decided: two
              classes are as certain, or all of the image if its classes have less than 1 % of it.
            - **maps** (`dict`): Name of each class to a uint8 array `[H, W]`, 255 where the evidence is strongest.
            - **class_statistics** (`dict`): Name of each class that occurs, or "background", to its share of the
              pixels, in (0, 1], the largest first.
            - **remark** (`str`, only if nothing is decided): Why all of `segmentation` is 255.

        Raises:
            ValueError: labels that the model does not know, another number of them than of images, saliency of
                another size, or settings that cannot be.
            TypeError: an input that is no image, or a setting that does not exist.
        """
        single = not isinstance(inputs, (list, tuple))
        items = [inputs] if single else list(inputs)
        if single:
            labels, saliency = (None if given is None else [given] for given in (labels, saliency))
        reading, settings, _ = self._sanitize_parameters(**kwargs)
        examples = self.preprocess(items, labels, saliency, **{**self._preprocess_params, **reading})
        settings = {**self._forward_params, **settings}
        results = self.postprocess(self.forward(examples, **settings))
        return results[0] if single else results

    def preprocess(  # ty: ignore[incompatible-method-override]
        self, items: list[Any], labels: Any, saliency: Any, **reading: Any
    ) -> dict[str, Any]:
        """Images as they came, class ids, and saliency as arrays or None."""
        named: dict[str, Any] = {"labels": labels, "saliency": saliency}
        if any(isinstance(item, Mapping) for item in items):
            if labels is not None or saliency is not None or not all(isinstance(item, Mapping) for item in items):
                raise ValueError("Dictionaries bring their own labels and saliency. Received: both, or images, too")
            if unknown := {key for item in items for key in item} - {"image", *named}:
                raise ValueError(f"Keys of an image are image, labels and saliency. Received: {sorted(unknown)}")
            if lacking := sum("image" not in item for item in items):
                raise ValueError(f'Each dictionary must have an "image". Received: {lacking} without')
            named = {key: [item.get(key) for item in items] for key in named}
            if all(one is None for one in named["saliency"]):
                named["saliency"] = None
            items = [item["image"] for item in items]
        check_pictures(items, "picture")
        for key, given in named.items():
            if given is not None and (isinstance(given, str) or len(given) != len(items)):
                raise ValueError(
                    f"{key} must be a list with an entry for each of {len(items)} images. Received: {given}"
                )
        class_ids = [None if one is None else self._class_ids(one) for one in named["labels"] or [None] * len(items)]
        arrays = None if named["saliency"] is None else [read_saliency(one) for one in named["saliency"]]
        return {"images": items, "labels": class_ids, "saliency": arrays, "reading": reading}

    def _class_ids(self, given: Any) -> list[int]:
        """Names or ids, or a single one of them, to ids."""
        names: Mapping[int, str] = self.model.config.id2label
        ids = {name: class_id for class_id, name in names.items()} | {class_id: class_id for class_id in names}
        listed = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        if unknown := [label for label in listed if label not in ids]:
            raise ValueError(f"The classes are {', '.join(names.values())}. Received: {unknown}")
        return [ids[label] for label in listed]

    def _forward(  # ty: ignore[incompatible-method-override]
        self, inputs: dict[str, Any], **settings: Any
    ) -> dict[str, Any]:
        found = self.image_processor.segment_group(
            self.model,
            inputs["images"],
            partial(read_picture, **inputs["reading"]),
            labels=inputs["labels"],
            saliency=inputs["saliency"],
            **settings,
        )
        return {"results": list(found)}

    def postprocess(  # ty: ignore[incompatible-method-override]
        self, outputs: dict[str, Any]
    ) -> list[ImageSegmentation]:
        """Names instead of ids, and what each class takes of the image."""
        names: Mapping[int, str] = self.model.config.id2label
        numbered = {0: "background"} | {class_id + 1: name for class_id, name in names.items()}
        return [
            ImageSegmentation(
                labels=[names[class_id] for class_id in result["labels"]],
                segmentation=result["segmentation"],
                maps={names[class_id]: attention for class_id, attention in result["maps"].items()},
                class_statistics=class_shares(result["segmentation"], numbered),
                **({"remark": result["remark"]} if result.get("remark") else {}),
            )
            for result in outputs["results"]
        ]


def read_saliency(saliency: Any) -> np.ndarray:
    """uint8 [H, W] of an array, a gray image or a path.

    Raises:
        ValueError: if it is none.
    """
    if isinstance(saliency, (str, os.PathLike)):
        try:
            saliency = Image.open(saliency, formats=("PNG",))
        except Exception as error:  # a broken file makes Pillow raise OSError, SyntaxError, struct.error, ...
            raise ValueError(f"{saliency} cannot be read as saliency, a gray PNG. Received: {error}") from error
    if isinstance(saliency, Image.Image) and saliency.mode != "L":
        raise ValueError(f"saliency is a gray image of 8 bits. Received: mode {saliency.mode}")
    array = np.asarray(saliency)
    if array.dtype != np.uint8 or array.ndim != 2:
        raise ValueError(f"saliency is uint8 [H, W] for each image. Received: {array.dtype} {list(array.shape)}")
    return array
