"""What CFFM++ remembers of a video that arrives frame by frame: also its prototypes, known beforehand."""

from collections.abc import Sequence
from typing import Self

import torch

from .video_session import State, VideoSession


class PrototypeSession(VideoSession):
    """[`VideoSession`] with keys and values of the prototypes, which every frame that has references uses as well.

    Args:
        frame_offsets: Those of the model's config.
        prototypes: Keys and values of the prototypes of each video, one tensor [B, P, 2E]. None: the session is that
            of CFFM.
    """

    def __init__(self, frame_offsets: Sequence[int], prototypes: State | None = None):
        super().__init__(frame_offsets)
        self.prototypes = prototypes

    def reset(self) -> None:
        """Forget everything, the prototypes too: they are of this video. For another one make a new session."""
        super().reset()
        self.prototypes = None

    def references(self) -> tuple[State, ...] | None:
        """As in the parent, with the prototypes at the end."""
        references = super().references()
        return references if references is None or self.prototypes is None else (*references, self.prototypes)

    def check(self, shape: torch.Size) -> None:
        """As in the parent; there must be as many videos as sets of prototypes."""
        super().check(shape)
        if self.prototypes is not None and len(self.prototypes[0]) != shape[0]:
            raise ValueError(
                f"This session has the prototypes of {len(self.prototypes[0])} videos. Received: {shape[0]} frames"
            )

    def to(self, *args, **kwargs) -> Self:
        """Move or cast the memory, in place, with the arguments of `torch.Tensor.to`."""
        super().to(*args, **kwargs)
        if self.prototypes is not None:
            self.prototypes = tuple(tensor.to(*args, **kwargs) for tensor in self.prototypes)
        return self

    def num_bytes(self) -> int:
        """Size of the memory, that of the prototypes included."""
        return super().num_bytes() + sum(t.numel() * t.element_size() for t in self.prototypes or ())
