"""The trainer of counters: each line of the log also says what the queries do, and a failure is warned of."""

from typing import Any

from torch import Tensor, nn
from transformers.utils import logging

from ..calendar_trainer import CalendarTrainer
from .query_diagnostics import look_at_queries, what_is_wrong

logger = logging.get_logger(__name__)


class CountingTrainer(CalendarTrainer):
    """`CalendarTrainer` with the numbers of `look_at_queries` of the last batch in each line of the log."""

    _pixels: Tensor | None = None  # of the last batch
    _warned = False

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in the parent; the images are remembered for the next line of the log."""
        self._pixels = inputs["pixel_values"]
        return super().compute_loss(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in the parent, and what the queries do. In the last quarter of the steps, a failure is warned of once.

        Earlier, it would be none: points of a good run moved 0.4 px after a third of its steps, and 6 px at its end.
        """
        if "loss" in logs and self._pixels is not None:
            model: Any = self.accelerator.unwrap_model(self.model)
            self.require_finite()
            with self.accelerator.autocast():
                seen = look_at_queries(model, self._pixels)
            logs |= seen
            if seen and not self._warned and 4 * self.state.global_step >= 3 * self.state.max_steps:
                problems = what_is_wrong(seen, model.config)
                self._warned = bool(problems)
                if problems and self.is_world_process_zero():
                    logger.warning(
                        f"{'. '.join(problems)}. With few images, see scripts/configs/iocformer/small_data.yaml."
                    )
        super().log(logs, start_time)
