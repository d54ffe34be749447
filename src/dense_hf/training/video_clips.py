"""Which frames of a video make a training clip (released code of CFFM and MRCFA).

A clip is a tuple of frame numbers, reference frames first, oldest offset first, and the target last. Which frames a
target looks back at when a model is used is another question: `dense_hf.video_segmentation.video_session`.
"""

from collections.abc import Sequence

import numpy as np


def has_clip(target: int, num_frames: int, frame_offsets: Sequence[int]) -> bool:
    """Whether all offsets from the target lie inside the video, backwards or forwards."""
    return max(frame_offsets) <= target or target + max(frame_offsets) < num_frames


def draw_clip(rng: np.random.Generator, num_frames: int, frame_offsets: Sequence[int]) -> tuple[int, ...]:
    """A clip of a video with labels everywhere: turned around in half of the draws, any target that has references.

    Args:
        rng: where all randomness comes from.
        num_frames: of the video.
        frame_offsets: how many frames before the target the reference frames are. In a video that is turned around
            they are that many frames after it.

    Raises:
        ValueError: if the video is shorter than the largest offset needs.
    """
    reach = max(frame_offsets)
    if num_frames <= reach:
        raise ValueError(f"a clip needs {reach + 1} frames. Received: a video of {num_frames}")
    turned_around = rng.random() < 0.5
    target = int(rng.integers(reach, num_frames))
    clip = [*(target - offset for offset in frame_offsets), target]
    return tuple(num_frames - 1 - number if turned_around else number for number in clip)


def draw_clip_around(
    rng: np.random.Generator, target: int, num_frames: int, frame_offsets: Sequence[int]
) -> tuple[int, ...]:
    """A clip for one labelled frame of a video with few of them, as in Cityscapes.

    References are before the target or, in half of the draws, after it; where one side has too few frames, the other.

    Raises:
        ValueError: if both sides have too few frames.
    """
    if not has_clip(target, num_frames, frame_offsets):
        raise ValueError(
            f"a clip needs {max(frame_offsets)} frames before or after its target. Received: frame {target} of "
            f"a video of {num_frames}"
        )
    sign = 1 if rng.random() < 0.5 else -1
    if not 0 <= target + sign * max(frame_offsets) < num_frames:
        sign = -sign
    return (*(target + sign * offset for offset in frame_offsets), target)
