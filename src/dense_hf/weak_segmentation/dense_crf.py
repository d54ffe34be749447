"""Masks that follow the edges of their image: a fully connected CRF (thesis reference [193]).

Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NeurIPS 2011,
with the lattice of [`PermutohedralLattice`]. Needs no compiler. K classes, H x W pixels.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .permutohedral_lattice import PermutohedralLattice

SMALLEST = 1e-20  # of the released normalisation


@dataclass(frozen=True)
class DenseCRF:
    """Mean-field inference in a fully connected CRF with Potts compatibility; the defaults are the released values.

    ```python
    refined = DenseCRF()(image, probabilities)
    ```

    Two pixels i, j of different classes cost `gaussian_compat` * exp(-|p_i - p_j|^2 / (2 `gaussian_sxy`^2)) and
    `bilateral_compat` * exp(-|p_i - p_j|^2 / (2 `bilateral_sxy`^2) - |I_i - I_j|^2 / (2 `bilateral_srgb`^2)), p being
    places and I colours. Each of the two kernels is divided by the square roots of its sums at both pixels.

    AffinityNet's first step is `DenseCRF(10, gaussian_compat=3, bilateral_srgb=13, bilateral_compat=10)`, at each of
    its strengths.

    Args:
        num_iterations: updates of all pixels at once.
        gaussian_sxy: reach of the kernel of places, in pixels.
        gaussian_compat: its weight; 0 leaves it out.
        bilateral_sxy: reach of the kernel of places and colours, in pixels.
        bilateral_srgb: its reach in colours, in levels of 256.
        bilateral_compat: its weight; 0 leaves it out.
        min_probability: lower probabilities count as this one.
        channel_order: of the colours in the lattice. A Gaussian does not depend on it, but the lattice approximates:
            on small noisy images single probabilities changed by 0.12. The image is RGB either way; the released code
            gives the lattice BGR.

    Raises:
        ValueError: for a number that is out of its range.
    """

    num_iterations: int = 1
    gaussian_sxy: float = 3
    gaussian_compat: float = 1
    bilateral_sxy: float = 80
    bilateral_srgb: float = 4
    bilateral_compat: float = 3
    min_probability: float = 1e-4
    channel_order: Literal["bgr", "rgb"] = "bgr"

    def __post_init__(self):
        if self.num_iterations < 1:
            raise ValueError(f"num_iterations must be at least 1. Received: {self.num_iterations}")
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite. Received: {getattr(self, name)}")
        for name in ("gaussian_compat", "bilateral_compat"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite. Received: {getattr(self, name)}")
        if not 0 < self.min_probability < 1:
            raise ValueError(f"min_probability must be between 0 and 1. Received: {self.min_probability}")
        if self.channel_order not in ("bgr", "rgb"):
            raise ValueError(f'channel_order must be "bgr" or "rgb". Received: {self.channel_order!r}')

    def __call__(self, image: Any, probabilities: Any) -> np.ndarray:
        """Probabilities that agree between pixels that are near and alike.

        Args:
            image: uint8 [H, W, 3], RGB.
            probabilities: floats [K, H, W], at least 0. They need not sum to 1, but no pixel may have only zeros.

        Returns:
            float32 [K, H, W], with the sum 1 at each pixel.

        Raises:
            ValueError: if a shape or type is another, sizes differ, a number is negative or not finite, all of a
                pixel's are 0, or a reach is so short that the lattice cannot tell the pixels apart.
        """
        image, probabilities = np.asarray(image), np.asarray(probabilities)
        _check(image, probabilities)
        num_labels, *size = probabilities.shape
        scores = torch.from_numpy(probabilities.astype(np.float32)).flatten(1).T.contiguous()
        unary = (scores / scores.sum(1, keepdim=True)).clamp_(self.min_probability, 1).log_()
        kernels = self._kernels(image)

        current = unary.softmax(1)
        for _ in range(self.num_iterations):
            updated = unary.clone()
            for compat, lattice, scale in kernels:
                updated += lattice.filter(current * scale) * (compat * scale)
            current = updated.softmax(1)
        return current.T.reshape(num_labels, *size).numpy()

    def _kernels(self, image: np.ndarray) -> list[tuple[float, PermutohedralLattice, Tensor]]:
        """Weight, lattice, and one over the root of the kernel's sum at each pixel [H * W, 1], of both kernels."""
        rows, columns = np.indices(image.shape[:2], dtype=np.float32).reshape(2, -1)
        places = torch.from_numpy(np.stack([columns, rows], axis=1))
        ordered = image if self.channel_order == "rgb" else image[:, :, ::-1]
        colours = torch.from_numpy(ordered.reshape(-1, 3).astype(np.float32))
        kernels = []
        if self.gaussian_compat:
            kernels.append((self.gaussian_compat, PermutohedralLattice(places / self.gaussian_sxy)))
        if self.bilateral_compat:
            features = torch.cat([places / self.bilateral_sxy, colours / self.bilateral_srgb], 1)
            kernels.append((self.bilateral_compat, PermutohedralLattice(features)))
        ones = torch.ones(len(places), 1)
        return [(compat, lattice, (lattice.filter(ones) + SMALLEST).rsqrt()) for compat, lattice in kernels]


def _check(image: np.ndarray, probabilities: np.ndarray) -> None:
    """An image and its probabilities, of one size."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image must be a uint8 array [H, W, 3]. Received: {image.dtype} {list(image.shape)}")
    if probabilities.dtype.kind != "f" or probabilities.ndim != 3 or not probabilities.size:
        raise ValueError(
            f"probabilities must be floats [K, H, W]. Received: {probabilities.dtype} {list(probabilities.shape)}"
        )
    if probabilities.shape[1:] != image.shape[:2]:
        raise ValueError(
            f"probabilities must have the size of the image, {list(image.shape[:2])}. "
            f"Received: {list(probabilities.shape[1:])}"
        )
    # NaN fails every comparison, too
    if not (probabilities.min() >= 0 and probabilities.max() < math.inf):
        raise ValueError(
            f"probabilities must be finite and at least 0. Received: {probabilities.min()} to {probabilities.max()}"
        )
    empty = int((probabilities.max(axis=0) == 0).sum())
    if empty:
        raise ValueError(f"each pixel must have a probability above 0. Received: {empty} pixels without")
