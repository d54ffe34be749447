"""Localisation maps that walk at random to where AffinityNet says (thesis section 3.4.4, reference [143]).

h x w cells, N = h w of them, P pairs of each cell, K maps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from torch.nn import functional as F

from .affinity_pairs import Offset
from .pseudo_labels import scaled


@dataclass(frozen=True)
class RandomWalk:
    """The walk of the maps of an image; the defaults are the released ones.

    Affinities are raised to `power` and divided so that those into a cell have the sum 1; a cell is its own neighbour,
    with affinity 1. After a step, the score of a cell is the mean of its neighbours' scores, weighted so. The released
    code squares the whole matrix 8 times, which is 256 steps; here the scores take the steps, and the matrix keeps its
    69 numbers per cell: 3 MB instead of 39 MB for 56 x 56 cells, and a thousandth of the multiplications.

    Raises:
        ValueError: values that cannot work; the message lists all.
    """

    power: float = field(default=8.0, metadata={"help": "Of the affinities: more makes the walk more cautious."})
    num_steps: int = field(default=256, metadata={"help": "How far maps walk; 0 leaves them as they are."})
    background_power: float | None = field(
        default=None,
        metadata={
            "help": "Background walks, too, with (1 - highest score of a class) ^ this, and where it ends up highest, "
            "all maps become 0 (16 in the released code). Default: only a constant background, which no walk changes, "
            "competes when labels are made (section 3.4.4)."
        },
    )

    def __post_init__(self):
        problems = []
        if not self.power > 0:
            problems.append(f"power must be positive, received {self.power}")
        if self.num_steps < 0:
            problems.append(f"num_steps must be at least 0, received {self.num_steps}")
        if self.background_power is not None and not self.background_power > 0:
            problems.append(f"background_power must be positive, received {self.background_power}")
        if problems:
            raise ValueError("; ".join(problems))

    def __call__(
        self, attention: Mapping[int, np.ndarray], affinities: np.ndarray, offsets: Sequence[Offset], stride: int
    ) -> dict[int, np.ndarray]:
        """The maps of one image after the walk.

        Args:
            attention: class id -> map, uint8 [H, W], at least one.
            affinities: [P, h, w], with h = ceil(H / stride), w = ceil(W / stride); see `affinity_pairs.py`.
            offsets: P of them.
            stride: side of a cell in pixels.

        Returns:
            class id -> uint8 [H, W], the highest value of each map 255.

        Raises:
            ValueError: affinities of another grid.
        """
        class_ids = sorted(attention)
        pixels = torch.from_numpy(np.stack([scaled(attention[class_id]) for class_id in class_ids]))
        height, width = pixels.shape[-2:]
        padding = (0, -width % stride, 0, -height % stride)
        if self.background_power is not None:
            background = (1 - pixels.amax(dim=0, keepdim=True)) ** self.background_power
            pixels = torch.cat([background, pixels])
        cells = F.avg_pool2d(F.pad(pixels, padding), stride)
        if cells.shape[-2:] != affinities.shape[-2:]:
            raise ValueError(
                f"affinities must be of {list(cells.shape[-2:])} cells. Received: {list(affinities.shape[-2:])}"
            )
        walked = torch.from_numpy(self.walk(cells.numpy(), transitions(affinities, offsets, self.power)))
        enlarged = F.interpolate(walked[None], scale_factor=stride, mode="bilinear", align_corners=False)[0]
        scores = enlarged[:, :height, :width]
        if self.background_power is not None:
            scores = scores[1:] * (scores[1:].amax(dim=0) > scores[0])
        return {class_id: as_bytes(one.numpy()) for class_id, one in zip(class_ids, scores)}

    def walk(self, scores: np.ndarray, steps: csr_array) -> np.ndarray:
        """Scores [K, h, w] after `num_steps` steps [N, N]; float32."""
        vectors = scores.reshape(len(scores), -1).T.astype(np.float64)
        for _ in range(self.num_steps):
            vectors = steps @ vectors
        return np.ascontiguousarray(vectors.T).reshape(scores.shape).astype(np.float32)


def transitions(affinities: np.ndarray, offsets: Sequence[Offset], power: float) -> csr_array:
    """What a step does to scores: row j has the weights that cell j gives its neighbours, with the sum 1.

    Args:
        affinities: [P, h, w]; numbers of pairs that lead out of the grid are not used.
        offsets: P of them.
        power: of the affinities.

    Returns:
        [N, N], float64.
    """
    height, width = affinities.shape[-2:]
    cells = np.arange(height * width).reshape(height, width)
    rows, columns, values = [cells.ravel()], [cells.ravel()], [np.ones(height * width)]
    for affinity, (down, right) in zip(affinities.astype(np.float64), offsets):
        inside = slice(0, max(height - down, 0)), slice(max(-right, 0), max(width - max(right, 0), 0))
        first = cells[inside].ravel()
        second = first + down * width + right
        weights = affinity[inside].ravel() ** power
        rows += [first, second]
        columns += [second, first]
        values += [weights, weights]
    indices = np.concatenate(rows), np.concatenate(columns)
    matrix = csr_array(coo_array((np.concatenate(values), indices), shape=(cells.size, cells.size)))
    return csr_array(matrix.multiply(1 / matrix.sum(axis=1)[:, None]))


def as_bytes(scores: np.ndarray) -> np.ndarray:
    """Scores [H, W], at least 0, as uint8 with the highest 255; all zeros stay so."""
    return np.rint(255 * scores / max(scores.max(), np.finfo(np.float32).tiny)).astype(np.uint8)
