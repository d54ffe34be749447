"""Prototypes of a video: centres of the features of some of its frames (CFFM++).

F frames, E `decoder_hidden_size`, P prototypes, H x W pixels of a frame.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from .kmeans import kmeans
from .video_segmenter import VideoSegmenterModel


def prototype_frame_numbers(num_frames: int, count: int = 10) -> list[int]:
    """Which frames of a video, numbered from 0, its prototypes are made of: the middles of `count` equal stretches.

    Stretches have a whole number of frames, so up to `count - 1` frames at the end are in none. A video with fewer
    frames than `count` gives frame 0 alone: the released code takes it `count` times, and the same points several
    times over have the same centres.

    Raises:
        ValueError: a number below 1.
    """
    if num_frames < 1 or count < 1:
        raise ValueError(f"num_frames and count must be at least 1. Received: {num_frames}, {count}")
    stretch = num_frames // count
    return [int((number + 0.5) * stretch) for number in range(count)] if stretch else [0]


@torch.no_grad()
def cluster_frames(
    model: VideoSegmenterModel,
    frames: Iterable[Tensor],
    num_prototypes: int = 100,
    max_iterations: int = 10,
    seed: int = 0,
) -> Tensor:
    """k-means over the fused features (1/8 of the image) of all pixels of some frames.

    Frames go through the encoder one by one, and may be of different sizes. All features are held at once in fp32:
    66 MB for 10 frames of 480 x 864 at E = 256.

    Args:
        model: A trained CFFM or CFFM++ in eval mode; its frozen part is what counts.
        frames: F frames [3, H, W], normalised, for example those of `prototype_frame_numbers`.
        num_prototypes: P.
        max_iterations: Of k-means.
        seed: Decides where k-means starts.

    Returns:
        prototypes [P, E], fp32, on the device of the model.

    Raises:
        ValueError: a model in training mode, no frame, or a frame of another shape.
    """
    if model.training:
        raise ValueError("Prototypes are made in eval mode. Received: a model in training mode")
    points = []
    for frame in frames:
        if frame.ndim != 3:
            raise ValueError(f"A frame must be [channels, height, width]. Received: {list(frame.shape)}")
        _, features = model.extract(frame[None].to(model.device, model.dtype))
        points.append(features.halved[0].flatten(1).T.float())
    if not points:
        raise ValueError("Prototypes need at least one frame. Received: none")
    return kmeans(torch.cat(points), num_prototypes, max_iterations, seed)
