"""What a model remembers of a video that arrives frame by frame, and which frames it looks back at.

A reference frame has a role: role r is the place of the frame that is `frame_offsets[r]` frames back. For each role a
frame leaves a state, a tuple of tensors that begin with the batch.
"""

from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

import torch
from torch.nn import functional as F

from .frame_reuse import FrameReuse

State = tuple[torch.Tensor, ...]

THUMBNAIL_SIDE = 16  # of the frames that are compared to find cuts

# reference frames of the first targets of a video where there are not yet enough (released code, both methods)
RELEASED_STARTS = {
    (9, 6, 3): {3: (0, 1, 2), 4: (0, 2, 3), 5: (0, 2, 4), 6: (0, 2, 4), 7: (0, 3, 5), 8: (0, 3, 6)},
}


def reference_frames(index: int, frame_offsets: Sequence[int]) -> tuple[int, ...] | None:
    """Numbers of the frames that frame number `index` (from 0) looks back at, oldest first.

    None where it is segmented alone: always without offsets, else until all of them lie inside the video, and for
    (9, 6, 3) until frame 3.
    """
    if not frame_offsets:
        return None
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
        reuse: What of earlier frames' maps is used again, or None.
        cut_threshold: See `StreamingModel.new_session`. With several videos in a batch, a cut in any restarts all.
    """

    def __init__(self, frame_offsets: Sequence[int]):
        self.frame_offsets = tuple(frame_offsets)
        self.reuse: FrameReuse | None = None
        self.cut_threshold: float | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first of another video."""
        self.num_frames = 0
        self.frame_shape: torch.Size | None = None
        self._states: list[deque[State]] = [deque(maxlen=offset) for offset in self.frame_offsets]
        self._thumbnail: torch.Tensor | None = None
        if self.reuse is not None:
            self.reuse.forget()

    def notice_cut(self, frame: torch.Tensor) -> None:
        """Reset if a frame [B, 3, height, width], the next one, begins another video by `cut_threshold`."""
        if self.cut_threshold is None:
            return
        before, now = self._thumbnail, F.adaptive_avg_pool2d(frame, THUMBNAIL_SIDE)
        is_comparable = before is not None and before.shape == now.shape
        if is_comparable and ((now - before).abs().mean((1, 2, 3)) > self.cut_threshold).any():
            self.reset()
        self._thumbnail = now

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
        twin.reuse = None if self.reuse is None else self.reuse.copy()
        return twin

    def held(self) -> list[State]:
        """All states of the memory, some of them more than once."""
        return [state for states in self._states for state in states]

    def replace(self, changed: dict[int, torch.Tensor]) -> None:
        """Exchange tensors of the memory, in place, for those that stand under their `id`."""
        for states in self._states:
            for index, state in enumerate(states):
                states[index] = exchanged(state, changed)

    def to(self, *args, **kwargs) -> Self:
        """Move or cast the memory, in place, with the arguments of `torch.Tensor.to`. What roles share stays one."""
        self.replace({key: tensor.to(*args, **kwargs) for key, tensor in self._tensors().items()})
        self._thumbnail = None
        if self.reuse is not None:
            self.reuse.forget()
        return self

    def select(self, indices: Sequence[int]) -> Self:
        """A session of some of the videos, by their numbers in the batch and in this order; it goes on independently.

        Raises:
            ValueError: a number that is not of the batch.
        """
        twin, tensors, rows = self.copy(), self._tensors(), list(indices)
        sizes = [len(tensor) for tensor in tensors.values()] + ([self.frame_shape[0]] if self.frame_shape else [])
        if sizes and not all(0 <= index < sizes[-1] for index in rows):
            raise ValueError(f"indices must be from 0 to {sizes[-1] - 1}. Received: {rows}")
        twin.replace({key: tensor[rows] for key, tensor in tensors.items()})
        twin._thumbnail = None if self._thumbnail is None else self._thumbnail[rows]
        if self.frame_shape is not None:
            twin.frame_shape = torch.Size((len(rows), *self.frame_shape[1:]))
        if twin.reuse is not None:
            twin.reuse.forget()
        return twin

    def num_bytes(self) -> int:
        """Size of the memory. Tensors that several roles share count once."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors().values())

    def _tensors(self) -> dict[int, torch.Tensor]:
        return {id(tensor): tensor for state in self.held() for tensor in state}


class StreamSessions:
    """Sessions of streams that are segmented together (`StreamingModel.segment_streams`), each with a life of its own.

    Args:
        make: A session of one new stream.
        num_streams: How many there are at first.

    Attributes:
        sessions: Of the streams, in order.
    """

    def __init__(self, make: Callable[[], VideoSession], num_streams: int = 0):
        self._make = make
        self.sessions = [make() for _ in range(num_streams)]

    def __len__(self) -> int:
        return len(self.sessions)

    def start(self) -> int:
        """A new stream; its number."""
        self.sessions.append(self._make())
        return len(self.sessions) - 1

    def reset(self, index: int) -> None:
        """The next frame of a stream is the first of another video."""
        self.sessions[index].reset()

    def end(self, index: int) -> None:
        """Forget a stream; those after it move up by one."""
        del self.sessions[index]

    def select(self, indices: Sequence[int]) -> "StreamSessions":
        """Some of the streams, in this order: those that have a frame now. They stay streams of this object, too.

        Raises:
            ValueError: a number that is not of a stream, or one twice.
        """
        numbers = list(indices)
        if len(set(numbers)) < len(numbers) or not all(0 <= number < len(self) for number in numbers):
            raise ValueError(f"indices must be different, from 0 to {len(self) - 1}. Received: {numbers}")
        some = StreamSessions(self._make)
        some.sessions = [self.sessions[number] for number in numbers]
        return some

    def num_bytes(self) -> int:
        """Size of all memories."""
        return sum(session.num_bytes() for session in self.sessions)


def exchanged(state: State, changed: dict[int, torch.Tensor]) -> State:
    """A state with the tensors that stand under the `id` of its own."""
    return tuple(changed[id(tensor)] for tensor in state)
