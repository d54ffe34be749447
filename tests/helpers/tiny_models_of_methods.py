"""A tiny model for every row of the table of models."""

from tiny_affinity import tiny_affinity_net
from tiny_checkpoints import CHECKPOINTS
from tiny_counters import TINY_COUNTERS, tiny_counter
from tiny_deeplabv3plus import tiny_model as tiny_deeplabv3plus
from tiny_density_counter import tiny_density_model
from tiny_dilated import tiny_model as tiny_dilated
from transformers import PreTrainedModel

DILATED = ("pspnet_video", "ocrnet_video", "tcb", "netwarp")
OTHER_NAMES = {"deeplab_largefov": "deeplab"}


def tiny_of(name: str) -> PreTrainedModel:
    """The tiny model of a row, by the row's name."""
    if name in TINY_COUNTERS:
        return tiny_counter(name)
    if name in DILATED:
        return tiny_dilated(name)
    if name == "deeplabv3plus_video":
        return tiny_deeplabv3plus()
    if name == "density_counter":
        return tiny_density_model()
    if name == "affinity_net":
        return tiny_affinity_net()
    return CHECKPOINTS[OTHER_NAMES.get(name, name)][0]()
