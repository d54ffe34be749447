"""The recipe of the systems with a dilated ResNet (Tables 4.1 and 5.6), as released with VSPW."""

from dataclasses import dataclass

from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ...options import option
from ..sgd_arguments import SGDArguments


@dataclass
class DilatedTrainingArguments(SGDArguments):
    """`SGDArguments` whose defaults are what the released scripts say: 120 epochs of a clip of each video, 8 a step.

    What they do is another thing: parameters stand in the optimizer's list once for each module they are in, and are
    moved as often in a step. That is left out.
    """

    per_device_train_batch_size: int = option(8, "Clips per process and step; 8 in all is released.")
    num_train_epochs: float = option(120, "Rounds over the videos.")
    learning_rate: float = option(2e-4, "Of the encoder.")
    weight_decay: float = option(1e-4, "Of SGD, for all but biases.")
    eval_strategy: IntervalStrategy | str = option(
        "no", "steps: every eval_steps; epoch: by the calendar; the end is always evaluated."
    )
    save_strategy: SaveStrategy | str = option("epoch", "epoch: by the calendar.")
    metric_for_best_model: str | None = option("mean_iou", "What best means.")

    def parameter_options(self, name: str, in_encoder: bool) -> dict[str, float]:
        """As in the parent; biases do not decay."""
        decay = 0.0 if name.endswith("bias") else self.weight_decay
        return super().parameter_options(name, in_encoder) | {"weight_decay": decay}
