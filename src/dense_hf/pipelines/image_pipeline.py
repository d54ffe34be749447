"""What the pipelines of this folder share. This file is copied beside saved pipelines."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from transformers import Pipeline


class ImageProcessorPipeline(Pipeline):
    """A pipeline that needs a model and its image processor, which are of classes that this file must not import."""

    model: Any
    image_processor: Any

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_video_processor = False
    _load_tokenizer = False


def not_none(**settings: Any) -> dict[str, Any]:
    """The settings that were given; others have the defaults of whom they are for."""
    return {name: value for name, value in settings.items() if value is not None}


def class_shares(labels: np.ndarray, names: Mapping[int, str]) -> dict[str, float]:
    """Name of each label that occurs to its share of pixels, the largest first; labels without a name do not count."""
    pixels = np.bincount(labels.ravel())
    present = [label for label in np.flatnonzero(pixels).tolist() if label in names]
    present.sort(key=lambda label: (-pixels[label], label))
    return {names[label]: float(pixels[label] / labels.size) for label in present}
