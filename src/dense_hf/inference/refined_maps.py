"""Localisation maps after a random walk, as files (thesis section 3.4.4, reference [143]).

REFINED/NAME_ID.png         as in the folder that they are made of, see `inference/localization_maps.py`
REFINED/settings.json       what they are made with; written first
REFINED/refinement.json     the same and counts; written last, so it says that the folder is complete
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.images import open_image
from ..data.weak_folder import WeakFolder, WeakImage
from ..weak_segmentation.image_processing_affinity_net import AffinityNetImageProcessor
from ..weak_segmentation.modeling_affinity_net import AffinityNetModel
from ..weak_segmentation.random_walk import RandomWalk
from .finite_outputs import require_finite
from .localization_maps import background_score_of, describe_maps, read_maps, require_maps, write_maps
from .result_folders import SETTINGS_FILE, claim_folder, describe_maker, finish_folder

SUMMARY_FILE = "refinement.json"


def refine_maps(
    model: AffinityNetModel,
    processor: AffinityNetImageProcessor,
    images: WeakFolder,
    maps: Path,
    directory: Path,
    walk: RandomWalk,
    model_name: str,
    progress: bool = True,
) -> dict[str, Any]:
    """Make the maps that are not there yet, and wait until all processes have; each takes every n-th image.

    A file is written whole or not at all; one that cannot be read is made again. An image without classes has no maps.

    Args:
        model: on its device, the same weights in all processes.
        processor: of the model.
        images: with the classes of the maps.
        maps: folder of the maps to refine.
        directory: new, or begun with the same model, maps, images and walk.
        walk: how maps walk.
        model_name: for the files of the folder.
        progress: whether process 0 shows a bar.

    Returns:
        What refinement.json holds, in every process.

    Raises:
        InvalidDataError: an image or a map that cannot be read, or maps in the folder that were made otherwise.
    """
    require_maps(maps, images)
    maker = {**describe_maker(model_name, model, processor), **describe_maps(maps, images), **asdict(walk)}

    def refined(image: WeakImage) -> dict[int, np.ndarray]:
        affinities = affinities_of(model, processor, open_image(image.path))
        return walk(read_maps(maps, image), affinities, model.offsets, model.config.feature_stride)

    with claim_folder(directory, maker, SETTINGS_FILE, "refined maps"):
        write_maps(directory, images, refined, "Refined maps", progress)
        counts = {"num_images": len(images), "num_maps": sum(len(image.labels) for image in images.images)}
        # the background's score is the classifier's, whoever refines its maps
        summary = {**maker, "background_score": background_score_of(maps), **counts}
        finish_folder(directory, SUMMARY_FILE, summary)
    return summary


def affinities_of(model: AffinityNetModel, processor: AffinityNetImageProcessor, image: Any) -> np.ndarray:
    """The affinities of one image, float32 [P, h, w]."""
    pixel_values = processor(image, return_tensors="pt")["pixel_values"].to(model.device, model.dtype)
    with torch.no_grad():
        affinities: Any = model(pixel_values).affinities
    require_finite(affinities)
    return affinities[0].float().cpu().numpy()
