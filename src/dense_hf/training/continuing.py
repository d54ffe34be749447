"""Going on from a trained model: what was learned of a class stays with its name.

K: classes of the model that is gone on from.
"""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig
from transformers.utils import logging

from ..inference.class_names import has_no_names, label_rows, name_labels
from ..strict_loading import checkpoint_folder, load_checkpoint

logger = logging.get_logger(__name__)


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
    unnamed = has_no_names(before)
    if tuple(before) == tuple(names) or (unnamed and len(before) == len(names)):
        return load_checkpoint(model_class, checkpoint_folder(source), config=config)
    trained_config = copy.deepcopy(config)
    name_labels(trained_config, before)
    trained = load_checkpoint(model_class, checkpoint_folder(source), config=trained_config)
    model = model_class(config)  # as initialized from the seed
    old = trained.state_dict()
    here, there = label_rows(model_class, config), label_rows(model_class, trained_config)
    moved = {} if unnamed else {names.index(name): before.index(name) for name in before if name in names}
    new_state: dict[str, Tensor] = model.state_dict()
    for name, tensor in new_state.items():
        if name not in here:
            tensor.copy_(old[name])
            continue
        (axis, rows), (_, old_rows) = here[name], there[name]
        for label, old_label in moved.items():
            tensor.index_copy_(axis, rows[:, label], old[name].index_select(axis, old_rows[:, old_label]))
        if (first := tensor.shape[axis] // len(rows) - rows.shape[1]) > 0:  # rows of no label, which stay
            for group, old_group in zip(rows[:, 0] - first, old_rows[:, 0] - first):
                tensor.narrow(axis, int(group), first).copy_(old[name].narrow(axis, int(old_group), first))
    kept = [names[row] for row in sorted(moved)]
    anew = [name for row, name in enumerate(names) if row not in moved]
    logger.warning(
        f"The model of {source} has other classes than the data. Kept: {', '.join(kept) or 'none'}. "
        f"Starting anew: {', '.join(anew) or 'none'}."
    )
    return model
