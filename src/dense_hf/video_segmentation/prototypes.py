"""Prototypes of a video: centres of the features of some of its frames, by k-means (CFFM++).

F frames, N points, E `decoder_hidden_size`, P prototypes, H x W pixels of a frame. k-means is here and not from a
library, because this file travels with checkpoints, whose code must run wherever transformers does, and where the
features are.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from .video_segmenter import VideoSegmenterModel

POINTS_AT_ONCE = 16_384  # bounds the distances that are held: 6.5 MB for 100 centres


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


def kmeans(points: Tensor, num_centres: int, max_iterations: int = 10, seed: int = 0) -> Tensor:
    """Centres [P, E] of points [N, E], from `num_centres` different random ones of them.

    With fewer points than centres, the points are repeated in turn to make up the number.

    Raises:
        ValueError: no point, a point that is not finite, or a number below 1.
    """
    if points.ndim != 2 or not len(points) or not torch.isfinite(points).all():
        raise ValueError(f"points must be finite, [N, E] with N at least 1. Received: {list(points.shape)}")
    if num_centres < 1 or max_iterations < 1:
        raise ValueError(
            f"num_centres and max_iterations must be at least 1. Received: {num_centres}, {max_iterations}"
        )
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    chosen = order.repeat(-(-num_centres // len(points)))[:num_centres]
    centres = points[chosen.to(points.device)]
    assigned = None
    for _ in range(max_iterations):
        before = assigned
        assigned, distances = nearest_centres(points, centres)
        if before is not None and torch.equal(assigned, before):
            break
        centres = moved_centres(points, centres, assigned, distances)
    return centres


def nearest_centres(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """For each point [N, E] the number [N] of the nearest centre, and the squared distance [N] to it."""
    numbers = nearest_numbers(points, centres)
    parts = zip(points.split(POINTS_AT_ONCE), numbers.split(POINTS_AT_ONCE))
    return numbers, torch.cat([(some - centres[number]).square().sum(dim=1) for some, number in parts])


def nearest_numbers(points: Tensor, centres: Tensor) -> Tensor:
    """For each point [N, E] the number [N] of the nearest centre."""
    # |x - c|^2 without the |x|^2 that all centres share
    lengths = centres.square().sum(dim=1)
    parts = (torch.addmm(lengths, some, centres.T, alpha=-2) for some in points.split(POINTS_AT_ONCE))
    return torch.cat([rest.argmin(dim=1) for rest in parts])


def moved_centres(points: Tensor, centres: Tensor, assigned: Tensor, distances: Tensor) -> Tensor:
    """Centres [P, E] at the means of their points.

    A centre without points goes to the point that is farthest from its centre, several of them to several such points:
    otherwise two equal initial centres, of a black border for instance, would stay two equal prototypes.
    """
    num_centres = len(centres)
    sums, counts = torch.zeros_like(centres), centres.new_zeros(num_centres)
    for some, numbers in zip(points.split(POINTS_AT_ONCE), assigned.split(POINTS_AT_ONCE)):
        members = F.one_hot(numbers, num_centres).to(points.dtype)
        sums += members.T @ some  # a product has a fixed order of summation, scattered additions on a GPU have none
        counts += members.sum(dim=0)
    moved = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    empty = (counts == 0).nonzero().flatten()
    farthest = distances.topk(min(len(empty), len(points))).indices
    moved[empty[: len(farthest)]] = points[farthest]
    return moved
