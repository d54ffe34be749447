"""The loss of pairs that are spread over several processes (thesis section 3.3.1). B pairs of a process, K classes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import logging

from ...weak_segmentation.co_attention_mcis import attended_positions
from ...weak_segmentation.loss_mcis import sigmoid_cross_entropy
from ..calendar_trainer import CalendarTrainer

logger = logging.get_logger(__name__)

# Below this many, a position copies one of the other image instead of weighing them.
LEAST_ATTENDED = 2.0

# The terms of the loss that a batch may do without, and the scores they are of
CONTRASTIVE_TERMS = {
    "loss_contrastive": "contrastive_logits",
    "loss_paired_contrastive": "paired_contrastive_logits",
}


class MCISTrainer(CalendarTrainer):
    """Trains MCIS on pairs. Several processes take the steps of one with the whole batch, see `loss_of`."""

    _contrast_was_used = False
    _pair: tuple[Tensor | None, ...] | None = None  # features of the first images of the last batch, and their domains
    _warned = False

    def loss_of(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, Mapping[str, Tensor], Any]:
        """The model's own loss.

        The model leaves a contrastive term out where no image *of its batch* has a label of its own. With several
        processes, the batch is that of all of them: if one process needs the term, the others add it, too.
        """
        outputs = model(**inputs)
        loss, terms = outputs.loss, dict(outputs.loss_dict)
        pair = (outputs.get("last_hidden_state"), outputs.get("paired_last_hidden_state"))
        if all(features is not None for features in pair):
            domains = (inputs.get("domains"), inputs.get("paired_domains"))
            self._pair = tuple(None if value is None else value[:1].detach() for value in (*pair, *domains))
        if self.args.world_size > 1:
            loss = self._agree_on_contrast(outputs, loss, terms)
        return loss, terms, outputs

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in the parent, and how many positions a softmax of the co-attention effectively attends to."""
        model: Any = self.accelerator.unwrap_model(self.model)
        if "loss" in logs and self._pair is not None and getattr(model, "co_attention", None) is not None:
            self.require_finite()
            affinity = model.co_attention.affinity(*self._pair).detach()
            number = logs["attended_positions"] = attended_positions(affinity)
            if number < LEAST_ATTENDED <= affinity.shape[1] / 2 and not self._warned:
                self._warned = True
                if self.is_world_process_zero():
                    logger.warning(
                        f"The softmax of the co-attention is one-hot: {number:.2f} of {affinity.shape[1]} positions "
                        "count. A smaller feature_scale, or affinity='cosine' with affinity_scale=20, keeps it soft."
                    )
        super().log(logs, start_time)

    def _agree_on_contrast(self, outputs: Any, loss: Tensor, terms: dict[str, Tensor]) -> Tensor:
        """The loss with the terms that another process has; they are also added to `terms`."""
        used = torch.tensor([name in terms for name in CONTRASTIVE_TERMS], dtype=torch.float32, device=loss.device)
        used = self.accelerator.reduce(used, "sum") > 0
        self._contrast_was_used |= bool(used.any())
        for (name, logits_name), is_used in zip(CONTRASTIVE_TERMS.items(), used.tolist()):
            logits = outputs.get(logits_name)
            if logits is None or name in terms:
                continue
            if is_used:
                terms[name] = sigmoid_cross_entropy(logits, torch.zeros_like(logits, dtype=torch.float32))
                loss = loss + terms[name]
            else:
                loss = loss + 0 * logits.sum()  # a process that waits for the gradients of the gate gets them
        return loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """As in the parent. A gate that no process has trained stays as it is, without weight decay, as released."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.args.world_size > 1 and self.accelerator.sync_gradients:
            unwrapped: Any = self.accelerator.unwrap_model(model)
            if not self._contrast_was_used and unwrapped.config.use_contrastive_co_attention:
                unwrapped.gate.weight.grad = None
            self._contrast_was_used = False
        return loss
