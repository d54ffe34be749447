"""Going on from a trained model: what was learned of a class stays with its name.

K: classes of the model that is gone on from.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from ..strict_loading import checkpoint_folder, load_checkpoint

logger = logging.get_logger(__name__)


def name_labels(config: PreTrainedConfig, names: Sequence[str]) -> None:
    """Give a configuration the labels of the data. Colors of other labels would be wrong, so they go."""
    if label_names(config) != tuple(names) and getattr(config, "palette", None) is not None:
        logger.warning("The model has colors of its own for its classes; the data has other classes, so they go")
        config.palette = None
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}


def label_names(config: PreTrainedConfig) -> tuple[str, ...]:
    """The names of a configuration's labels, in order."""
    return tuple(name for _, name in sorted((config.id2label or {}).items()))


def load_with_labels(
    model_class: Any, source: str, config: PreTrainedConfig, names: Sequence[str], before: Sequence[str]
) -> Any:
    """A trained model whose labels are those of the data.

    Args:
        model_class: of the model.
        source: a folder or a name on the Hub.
        config: what the model shall be; its labels are `names` already.
        names: labels of the data.
        before: labels of the trained model, K of them. Names that transformers gives (LABEL_0, ...) fit any K.

    Returns:
        The model. Tensors with a row for each label have the rows of the labels that both know; others start anew.

    Raises:
        InvalidDataError: weights that do not fit.
    """
    unnamed = list(before) == [f"LABEL_{number}" for number in range(len(before))]
    if tuple(before) == tuple(names) or (unnamed and len(before) == len(names)):
        return load_checkpoint(model_class, checkpoint_folder(source), config=config)
    trained_config = copy.deepcopy(config)
    name_labels(trained_config, before)
    trained = load_checkpoint(model_class, checkpoint_folder(source), config=trained_config)
    model = model_class(config)  # as initialized from the seed
    old = trained.state_dict()
    axes = label_axes(model_class, trained_config)
    moved = {} if unnamed else {names.index(name): before.index(name) for name in before if name in names}
    new_state: dict[str, Tensor] = model.state_dict()
    for name, tensor in new_state.items():
        if (axis := axes.get(name)) is None:
            tensor.copy_(old[name])
            continue
        for row, old_row in moved.items():
            tensor.select(axis, row).copy_(old[name].select(axis, old_row))
    kept = [names[row] for row in sorted(moved)]
    anew = [name for row, name in enumerate(names) if row not in moved]
    logger.warning(
        f"The model of {source} has other classes than the data. Kept: {', '.join(kept) or 'none'}. "
        f"Starting anew: {', '.join(anew) or 'none'}."
    )
    return model


def label_axes(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> dict[str, int]:
    """Name of each tensor that grows with the number of labels, and along which axis: found by building both."""
    more = copy.deepcopy(config)
    name_labels(more, [*label_names(config), "one more"])
    with torch.device("meta"):
        few, many = model_class(config).state_dict(), model_class(more).state_dict()
    return {
        name: next(axis for axis in range(tensor.ndim) if tensor.shape[axis] != many[name].shape[axis])
        for name, tensor in few.items()
        if tensor.shape != many[name].shape
    }
