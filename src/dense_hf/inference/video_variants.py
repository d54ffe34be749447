"""How a video is shown to a model in an evaluation that asks what the model uses: damaged frames, other references.

All of it is a function of the number of a frame, so that every model is judged on the same pixels. B videos, K labels,
h x w logits.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data.frame_damage import DAMAGES, damage_frame
from ..options import option
from ..video_segmentation.modeling_tcb import released_references

MOST_STATES = 32  # a video has hundreds of frames, and each takes tens of MB
REFERENCES = ("earlier", "own", "shuffled")
# numbers of `default_rng`, so that damages and references are drawn independently
_DAMAGE, _SHUFFLE = 0, 1


@dataclass(frozen=True)
class VideoVariant:
    """What is changed; by default nothing.

    Raises:
        ValueError: Values that cannot work.
    """

    damage: str | None = option(
        None, f"Show frames damaged: {', '.join(DAMAGES)}. The same pixels for every model. Default: as they are."
    )
    damage_every: int = option(1, "Damage every n-th frame only: of 4, frames 3, 7, 11, ... of a video.")
    average_frames: int = option(1, "Average the probabilities of this many frames, the last ones: a plain baseline.")
    references: str = option(
        "earlier",
        "Reference frames: earlier; own, the target itself; shuffled, frames from anywhere in the video. own and "
        "shuffled show how much a model makes of its references.",
    )

    def __post_init__(self):
        problems = [
            f"{name} must be at least 1, received {getattr(self, name)}"
            for name in ("damage_every", "average_frames")
            if getattr(self, name) < 1
        ]
        if self.damage not in (None, *DAMAGES):
            problems.append(f"damage must be one of {', '.join(DAMAGES)}, received {self.damage}")
        if self.damage is None and self.damage_every > 1:
            problems.append(f"damage_every needs damage, received {self.damage_every}")
        if self.references not in REFERENCES:
            problems.append(f"references must be one of {', '.join(REFERENCES)}, received {self.references}")
        if problems:
            raise ValueError("; ".join(problems))

    def check_model(self, model: Any) -> None:
        """Nothing, if a model has references to exchange, or keeps those it has.

        Raises:
            ValueError: it has none, or prototypes besides.
        """
        if self.references != "earlier" and (not hasattr(model, "step") or hasattr(model, "find_prototypes")):
            raise ValueError(
                f"references={self.references} is for models whose only memory is earlier frames. "
                f"Received: {model.config.model_type}"
            )

    def is_damaged(self, number: int) -> bool:
        """Whether a frame, counted from 0, is shown damaged."""
        return self.damage is not None and number % self.damage_every == self.damage_every - 1

    def show(self, picture: Image.Image, number: int) -> Image.Image:
        """A frame as the model sees it."""
        if not self.is_damaged(number):
            return picture
        rng = np.random.default_rng([_DAMAGE, number])
        return Image.fromarray(damage_frame(np.asarray(picture), str(self.damage), rng))


class VariantSegmenter:
    """A model that segments the frames of one video in turn, as a variant says.

    Args:
        model: in eval mode; a model without `new_session` is given each frame on its own.
        session: from `new_session`, or None.
        variant: what is changed.
        pixels_of: gives the pixels [1, 3, height, width] of any frame of the video, for shuffled references.
        num_frames: of the video.
    """

    def __init__(
        self, model: Any, session: Any, variant: VideoVariant, pixels_of: Callable[[int], Tensor], num_frames: int
    ):
        self.model, self.session, self.variant = model, session, variant
        self.pixels_of, self.num_frames = pixels_of, num_frames
        self._recent: deque[Tensor] = deque(maxlen=variant.average_frames)
        self._states: OrderedDict[int, Any] = OrderedDict()

    def segment(self, pixel_values: Tensor, number: int) -> Tensor:
        """Scores [1, K, h, w] of frame `number`: logits, or with `average_frames` mean probabilities."""
        logits = self._logits(pixel_values, number)
        if self.variant.average_frames == 1:
            return logits
        self._recent.append(logits.softmax(dim=1))
        return torch.stack(tuple(self._recent)).mean(dim=0)

    def _logits(self, pixel_values: Tensor, number: int) -> Tensor:
        if self.session is None:
            return self.model(pixel_values).logits
        if self.variant.references == "earlier" and self._looks_ahead:
            numbers = released_references(number, self.num_frames, self.model.config.frame_offsets)
            return self.model.segment_among(pixel_values, [self._state(one)[0] for one in numbers], self.session)
        if self.variant.references == "earlier":
            return self.model.segment_frame(pixel_values, self.session)
        if self.variant.references == "own":
            return self.model.step(pixel_values, self.model.step(pixel_values, None)[1])[0]
        count = self.model.config.num_reference_frames
        others = np.random.default_rng([_SHUFFLE, number]).integers(self.num_frames, size=count)
        references = tuple(self._state(int(other))[role] for role, other in enumerate(others))
        return self.model.step(pixel_values, references)[0]

    @property
    def _looks_ahead(self) -> bool:
        """Whether references come after their frame: TCB as released."""
        return hasattr(self.model, "segment_among") and self.model.config.compat == "vspw"

    def _state(self, number: int) -> Any:
        """What a frame from anywhere in the video offers, for each role; the latest are kept for later."""
        if number not in self._states:
            self._states[number] = self.model.step(self.pixels_of(number), None)[1]
            if len(self._states) > MOST_STATES:
                self._states.popitem(last=False)
        return self._states[number]
