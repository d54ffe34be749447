"""The loss of clips for models that segment frame by frame (the baseline of thesis sections 4.4.1 and 5.4.1).

B clips, T frames of a clip, K labels, h x w logits, H x W crops.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from ...data.labels import IGNORED
from ...video_segmentation.clip_loss import mean_cross_entropy
from ..calendar_trainer import CalendarTrainer

_SETTINGS: Any = SimpleNamespace(semantic_loss_ignore_index=IGNORED)  # models of transformers differ in its name


class PerFrameTrainer(CalendarTrainer):
    """Gives a model of single images the frames of all clips, and the loss of the thesis' baseline."""

    def loss_of(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, Mapping[str, Tensor], Any]:
        """The mean cross-entropy of all frames of all clips, ignored pixels in the denominator, as the models of clips
        judge single frames."""
        frames, labels = inputs["pixel_values"], inputs["labels"]
        outputs = model(pixel_values=frames.flatten(0, 1))
        loss = mean_cross_entropy(outputs.logits.unflatten(0, frames.shape[:2]), labels, _SETTINGS)
        return loss, {}, outputs
