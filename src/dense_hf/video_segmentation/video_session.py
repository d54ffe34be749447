"""What a model remembers of a video that arrives frame by frame, and which frames it looks back at.

A reference frame has a role: role r is the place of the frame that is `frame_offsets[r]` frames back. For each role a
frame leaves a state, a tuple of tensors that begin with the batch.
"""

from collections import deque
from collections.abc import Sequence
from copy import copy
from typing import Self

import torch

State = tuple[torch.Tensor, ...]

# reference frames of the first targets of a video where there are not yet enough (released code, both methods)
RELEASED_STARTS = {
    (9, 6, 3): {3: (0, 1, 2), 4: (0, 2, 3), 5: (0, 2, 4), 6: (0, 2, 4), 7: (0, 3, 5), 8: (0, 3, 6)},
}


def reference_frames(index: int, frame_offsets: Sequence[int]) -> tuple[int, ...] | None:
    """Numbers of the frames that frame number `index` (from 0) looks back at, oldest first.

    None where it is segmented alone: until all offsets lie inside the video, and for (9, 6, 3) until frame 3.
    """
    if index >= max(frame_offsets):
        return tuple(index - offset for offset in frame_offsets)
    return RELEASED_STARTS.get(tuple(frame_offsets), {}).get(index)


class VideoSession:
    """Memory of a video, or of several of the same size that advance together as one batch.

    States are never changed in place, so copies share them. The memory is bounded: role r keeps as many states as its
    offset, because no target looks further back.

    Args:
        frame_offsets: Those of the model's config.

    Attributes:
        num_frames: How many frames were seen.
        frame_shape: [batch_size, channels, height, width] of the frames, None before the first.
    """

    def __init__(self, frame_offsets: Sequence[int]):
        self.frame_offsets = tuple(frame_offsets)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first of another video."""
        self.num_frames = 0
        self.frame_shape: torch.Size | None = None
        self._states: list[deque[State]] = [deque(maxlen=offset) for offset in self.frame_offsets]

    def references(self) -> tuple[State, ...] | None:
        """One state per role for the next frame, or None where it is segmented alone."""
        frames = reference_frames(self.num_frames, self.frame_offsets)
        if frames is None:
            return None
        return tuple(states[frame - self.num_frames] for states, frame in zip(self._states, frames))

    def append(self, states: Sequence[State], shape: torch.Size) -> None:
        """Remember the states, one per role, of a frame of this shape that was segmented."""
        for memory, state in zip(self._states, states):
            memory.append(state)
        self.num_frames += 1
        self.frame_shape = shape

    def check(self, shape: torch.Size) -> None:
        """Refuse a frame that does not belong to this video.

        Raises:
            ValueError: a shape other than [batch_size, channels, height, width], or other than before.
        """
        if len(shape) != 4:
            raise ValueError(f"A frame must be [batch_size, channels, height, width]. Received: {list(shape)}")
        if self.frame_shape not in (None, shape):
            raise ValueError(
                f"The frames of this session are {list(self.frame_shape or ())}; another video needs a new session "
                f"or `session.reset()`. Received: {list(shape)}"
            )

    def copy(self) -> Self:
        """A session that goes on from here independently."""
        twin = copy(self)
        twin._states = [states.copy() for states in self._states]
        return twin

    def to(self, *args, **kwargs) -> Self:
        """Move or cast the memory, in place, with the arguments of `torch.Tensor.to`. What roles share stays one."""
        tensors = {id(tensor): tensor for states in self._states for state in states for tensor in state}
        moved = {key: tensor.to(*args, **kwargs) for key, tensor in tensors.items()}
        for states in self._states:
            for index, state in enumerate(states):
                states[index] = tuple(moved[id(tensor)] for tensor in state)
        return self

    def num_bytes(self) -> int:
        """Size of the memory. Tensors that several roles share count once."""
        tensors = {id(tensor): tensor for states in self._states for state in states for tensor in state}
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
