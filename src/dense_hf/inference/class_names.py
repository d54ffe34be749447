"""Labels of a model by their names: models and data are connected by names, never by numbers.

K labels of a model.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from ..errors import InvalidDataError, first_of

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


def counted_classes(config: PreTrainedConfig) -> tuple[str, ...]:
    """The names of the classes that a counter counts apart; () of one that counts all objects as one class."""
    names = label_names(config) if getattr(config, "counts_classes", False) else ()
    return names if len(names) > 1 else ()


def label_rows(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> dict[str, tuple[int, torch.Tensor]]:
    """Name of each tensor that grows with the number of labels, along which axis, and which rows are whose.

    Found by building a model with one label more. A tensor grows by a row for each group of rows that has all labels:
    P2PNet has one for each proposal of a cell. Before those of its labels, a group may have rows of none: the counters
    begin with "no object".

    Returns:
        Name to the axis and int64 [groups, K], the row of each label in each group.
    """
    more = copy.deepcopy(config)
    name_labels(more, [*label_names(config), f"{' '.join(label_names(config))} and one more"])
    with torch.device("meta"):
        few, many = model_class(config).state_dict(), model_class(more).state_dict()
    found, number = {}, len(label_names(config))
    for name, tensor in few.items():
        if tensor.shape != (larger := many[name].shape):
            axis = next(axis for axis in range(tensor.ndim) if tensor.shape[axis] != larger[axis])
            groups = larger[axis] - tensor.shape[axis]
            found[name] = axis, torch.arange(tensor.shape[axis]).view(groups, -1)[:, -number:]
    return found


def has_no_names(names: Sequence[str]) -> bool:
    """Whether names are those that transformers gives to labels without any: LABEL_0, LABEL_1, ..."""
    return list(names) == [f"LABEL_{number}" for number in range(len(names))]


def order_labels(model: Any, names: Sequence[str], source: Any) -> None:
    """Give the labels of a model the order of the data's: the rows of all its tensors move with their names.

    A model without names must have as many labels; nobody can say more.

    Args:
        model: it is changed.
        names: labels of the data, in order.
        source: of the model, for messages.

    Raises:
        InvalidDataError: the model has other classes.
    """
    known = label_names(model.config)
    if known == tuple(names) or (has_no_names(known) and len(known) == len(names)):
        return
    if sorted(known) != sorted(names) or len(set(known)) < len(known):
        lacking, more = [name for name in names if name not in known], [name for name in known if name not in names]
        received = f"{len(known)}: without {first_of(lacking) or 'none'}; and also {first_of(more) or 'none'}"
        if sorted(map(str.casefold, known)) == sorted(map(str.casefold, names)):
            received += "; only the case differs, which counts"
        expected = f"a model of the {len(names)} classes of the data, {first_of(list(names), 20)}"
        raise InvalidDataError(source, expected, received)
    logger.warning(f"The classes of {source} have another order than those of the data; they are sorted by name")
    rows = torch.tensor([known.index(name) for name in names])
    state = model.state_dict()
    for name, (axis, own) in label_rows(type(model), model.config).items():
        moved, device = own[:, rows].flatten(), state[name].device
        state[name].index_copy_(axis, own.flatten().to(device), state[name].index_select(axis, moved.to(device)))
    palette = getattr(model.config, "palette", None)
    name_labels(model.config, names)
    if palette is not None and len(palette) == len(names):
        model.config.palette = [palette[row] for row in rows.tolist()]
