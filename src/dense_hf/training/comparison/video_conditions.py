"""How videos are shown when rows are judged: whole, damaged, with other references, as `--conditions` says it.

Words of a condition are joined by "+": DAMAGE or DAMAGE:EVERY, own or shuffled (references), far=27,18,9 (how many
frames before the target references are), video=NAME (of the test videos).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...data.frame_damage import DAMAGES
from ...inference.video_variants import REFERENCES, VideoVariant

CLEAN = "clean"
_WORD = re.compile(rf"(?P<damage>{'|'.join(DAMAGES)})(:(?P<every>\d+))?|far=(?P<far>[\d,]+)|video=(?P<video>.+)")


@dataclass(frozen=True)
class Condition:
    """One of them.

    Attributes:
        name: as it was written.
        variant: how frames are shown.
        frame_offsets: instead of the model's.
        video: of the test; None for all.
    """

    name: str
    variant: VideoVariant = field(default_factory=VideoVariant)
    frame_offsets: tuple[int, ...] | None = None
    video: str | None = None

    def fits(self, model: Any) -> bool:
        """Whether it means something for a model: it has such references, or is shown something else."""
        if self.frame_offsets is not None and len(getattr(model.config, "frame_offsets", ())) != len(
            self.frame_offsets
        ):
            return False
        try:
            self.variant.check_model(model)
        except ValueError:
            return False
        return True

    def average(self, frames: int) -> "Condition":
        """The same, with the probabilities of so many frames averaged."""
        return replace(self, variant=replace(self.variant, average_frames=frames))


def parse_condition(text: str) -> Condition:
    """A condition of its words.

    Raises:
        ValueError: words that are none.
    """
    options: dict[str, Any] = {}
    offsets, video = None, None
    for word in text.split("+"):
        if word in REFERENCES[1:]:
            options["references"] = word
        elif found := _WORD.fullmatch(word):
            if found["damage"]:
                options |= {"damage": found["damage"], "damage_every": int(found["every"] or 1)}
            offsets = tuple(int(one) for one in found["far"].split(",") if one) if found["far"] else offsets
            video = found["video"] or video
        else:
            raise ValueError(
                f"A condition is made of {', '.join(DAMAGES)} (with :EVERY), own, shuffled, far=N,N,N and video=NAME, "
                f'joined by "+". Received: {text}'
            )
    return Condition(text, VideoVariant(**options), offsets, video)


def parse_conditions(texts: Sequence[str], videos: Sequence[str]) -> list[Condition]:
    """The clean one, then those that are named.

    Args:
        texts: the conditions.
        videos: names of the test videos.

    Raises:
        ValueError: words that are none, no such video, or the same condition twice.
    """
    found = [Condition(CLEAN), *map(parse_condition, texts)]
    if len({one.name for one in found}) < len(found):
        raise ValueError(f"Conditions must be different, and clean is always there. Received: {' '.join(texts)}")
    if unknown := [one.video for one in found if one.video not in (None, *videos)]:
        raise ValueError(f"Test videos are {', '.join(videos)}. Received: {', '.join(map(str, unknown))}")
    return found
