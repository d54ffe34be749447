"""Clips of labelled videos as training samples (thesis sections 4.4.1 and 5.4.1), and which frames make one.

A clip is a tuple of frame numbers, reference frames first, oldest offset first, and the target last. Which frames a
target looks back at when a model is used is another question: `dense_hf.video_segmentation.video_session`.

Letters: T frames of a clip, reference frames first, target last; h x w crop.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers.utils import logging

from ...data.images import open_image
from ...data.labels import IGNORED, read_mask
from ...data.videos import Frame, Video, VideoSet, check_frame_size
from ..decoded_cache import DecodedCache
from ..epoch_sampler import SampleKey, sample_generator
from .augmentation import ClipAugmentation, augment_clip

logger = logging.get_logger(__name__)


class VideoTrainingSet(Dataset):
    """Random crops of random clips. A sample is a function of (seed, epoch, index) and nothing else.

    In a video with labels everywhere every frame may be the target, and index i is a clip of video i modulo the number
    of videos. A video with few labelled frames stands once for each of them. Videos that are too short for the offsets
    are left out, with a warning. Indices past the end (they complete the last batch of an epoch, see `EpochSampler`)
    are clips of random videos.

    Args:
        videos: the set; its masks are checked beforehand by `require_readable_videos`.
        split: which part of it.
        frame_offsets: how many frames before the target the reference frames are, as in the config of a model.
        augmentation: what may happen to a clip.
        seed: seed of the run.
        samples_per_video: clips of each video in an epoch (released: 50).
        frame_cache_size: decoded frames, with their labels, that are kept in memory, per loader process. For few
            videos: 600 frames of 768 x 576 are 1 GB.
        extra_inputs: what a model needs besides pixels and labels of a clip, by the clip's video: tensors without a
            batch dimension, such as the prototypes of CFFM++.
        image_mean, image_std: per channel, for pixels from 0 to 1: those of the image processor.
        fixed: whether a sample is a function of (seed, index) alone: all epochs are the first one.

    Raises:
        ValueError: if no video is long enough, or a number is below its least value.
    """

    def __init__(
        self,
        videos: VideoSet,
        split: str,
        frame_offsets: Sequence[int],
        augmentation: ClipAugmentation,
        seed: int,
        samples_per_video: int = 50,
        frame_cache_size: int = 0,
        extra_inputs: Callable[[Video], Mapping[str, torch.Tensor]] | None = None,
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
        fixed: bool = False,
    ):
        if samples_per_video < 1 or not frame_offsets or min(frame_offsets) < 1:
            raise ValueError(
                "samples_per_video and frame_offsets must be at least 1. Received: "
                f"samples_per_video={samples_per_video}, frame_offsets={tuple(frame_offsets)}"
            )
        self.videos = videos
        self.frame_offsets = tuple(frame_offsets)
        self.augmentation = augmentation
        self.seed = seed
        self.samples_per_video = samples_per_video
        self.extra_inputs = extra_inputs
        self.fixed = fixed
        self._cache: DecodedCache[Path, tuple[np.ndarray, np.ndarray]] = DecodedCache(
            frame_cache_size, "frame_cache_size"
        )
        self.image_mean = torch.tensor(image_mean)[:, None, None]
        self.image_std = torch.tensor(image_std)[:, None, None]
        self.places = [place for video in videos.splits[split] for place in self._places(video)]
        with_clips = {video.video_id for video, _ in self.places}
        left_out = [video.video_id for video in videos.splits[split] if video.video_id not in with_clips]
        if left_out:
            logger.warning(
                f"{len(left_out)} of {len(videos.splits[split])} {split} videos have no labelled frame with "
                f"{max(frame_offsets)} frames before or after it and are left out: {', '.join(left_out[:20])}"
                f"{', ...' if len(left_out) > 20 else ''}"
            )
        if not self.places:
            longest = max((len(video.frames) for video in videos.splits[split]), default=0)
            raise ValueError(
                f"A clip needs labelled frames and {max(frame_offsets) + 1} frames in a row (frame_offsets). "
                f"Received: {len(left_out)} {split} videos, the longest of {longest} frames"
            )

    def _places(self, video: Video) -> list[tuple[Video, int | None]]:
        """The video and None, or the video and each frame that can be a target."""
        num_frames, labelled = len(video.frames), video.labelled
        if len(labelled) == num_frames:
            return [(video, None)] if num_frames > max(self.frame_offsets) else []
        return [(video, target) for target in labelled if has_clip(target, num_frames, self.frame_offsets)]

    def __len__(self) -> int:
        return len(self.places) * self.samples_per_video

    def __getitem__(self, index: SampleKey) -> dict[str, torch.Tensor]:
        """`{"pixel_values": float [T,3,h,w], "labels": uint8 [T,h,w]}`, and `extra_inputs`, of an (epoch, index) pair.

        Where the scaled frame is smaller than the crop, pixels are padded with 0 after normalisation, right and below,
        and labels with 255.

        Raises:
            InvalidDataError: for a frame or mask that cannot be used.
        """
        rng = sample_generator(self.seed, (0, index[1]) if self.fixed else index)
        number = index[1] % len(self.places) if index[1] < len(self) else int(rng.integers(len(self.places)))
        video, target = self.places[number]
        if target is None:
            clip = draw_clip(rng, len(video.frames), self.frame_offsets)
        else:
            clip = draw_clip_around(rng, target, len(video.frames), self.frame_offsets)
        camera = None
        if self.augmentation.near_clips and rng.random() < self.augmentation.near_clips:
            clip = clip[-1:] * len(clip)
            camera = [offset / max(self.frame_offsets) for offset in (*self.frame_offsets, 0)]
        frames, labels = self._load([video.frames[place] for place in clip])
        crops, maps = augment_clip(frames, labels, self.augmentation, rng, camera)
        height, width = self.augmentation.crop_size
        pixel_values = torch.zeros(len(clip), 3, height, width)
        padded_labels = torch.full((len(clip), height, width), IGNORED, dtype=torch.uint8)
        inside = np.s_[..., : maps.shape[1], : maps.shape[2]]
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        pixel_values[inside] = (pixels - self.image_mean) / self.image_std
        padded_labels[inside] = torch.from_numpy(maps)
        extra = {} if self.extra_inputs is None else self.extra_inputs(video)
        return {"pixel_values": pixel_values, "labels": padded_labels, **extra}

    def _load(self, clip: Sequence[Frame]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Pixels uint8 [H,W,3] and labels uint8 [H,W] of each frame."""
        frames, labels = [], []
        for frame in clip:
            pixels, truth = self._cache.get(frame.image_path, partial(self._decode, frame))
            height, width = (frames or [pixels])[0].shape[:2]
            check_frame_size(frame, pixels.shape[1::-1], (width, height))
            frames.append(pixels)
            labels.append(truth)
        return frames, labels

    def _decode(self, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        picture = open_image(frame.image_path, self.videos.max_pixels)
        if frame.mask_path is None:
            return np.asarray(picture), np.full(picture.size[::-1], IGNORED, dtype=np.uint8)
        labels = read_mask(frame.mask_path, picture.size, self.videos.rule, self.videos.max_pixels)
        return np.asarray(picture), labels


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
