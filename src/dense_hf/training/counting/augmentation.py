"""Random training crops of counting (thesis section 2.5.1; the numbers and their order are the released code's).

Letters: H, W image; t side of a tile; N points that fall into the crop. Points are (x right, y down), in a third
column perhaps with their class.

Everything random comes from the one `numpy.random.Generator` that a caller passes in, so a crop is a function of that
generator's seed and nothing else: not of the process, the worker or what was drawn before.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.spatial import KDTree

from ...options import option

if TYPE_CHECKING:
    from torch import Tensor

RELEASED_SCALE_RATES = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3)
NUM_NEIGHBOURS = 3
MAX_CROP_ATTEMPTS = 100


@dataclass
class CountingAugmentation:
    """What may happen to a training image, and how often. The defaults are the released recipe.

    Raises:
        ValueError: A number is out of range; the message lists all of them.
    """

    horizontal_flip: float = option(0.5, "Probability of mirroring left and right.")
    vertical_flip: float = option(0.0, "Probability of mirroring top and bottom. For pictures without an up.")
    rotation: float = option(0.0, "Probability of turning by 90, 180 or 270 degrees. For pictures without an up.")
    scale: float = option(0.3, "Probability of resizing by one of the scale rates.")
    scale_rates: list[float] = option(list(RELEASED_SCALE_RATES), "The rates to choose from.")
    scale_range: list[float] | None = option(
        None, "Least and largest rate, of which any between is chosen, instead of scale_rates; not for tiles."
    )
    grayscale: float = option(0.1, "Probability of removing the colour.")
    noise: float = option(0.0, "Most that is added to or taken from a normalized pixel (DSSI-Net: 0.03).")

    def __post_init__(self):
        problems = [
            f"{name} must be a probability in [0, 1], received {getattr(self, name)}"
            for name in ("horizontal_flip", "vertical_flip", "rotation", "scale", "grayscale")
            if not 0 <= getattr(self, name) <= 1
        ]
        if self.scale > 0 and not (self.scale_rates and all(0 < rate < np.inf for rate in self.scale_rates)):
            problems.append(f"scale_rates must be one or more positive numbers, received {self.scale_rates}")
        span = self.scale_range
        if span is not None and not (len(span) == 2 and 0 < span[0] <= span[1] < np.inf):
            problems.append(f"scale_range must be two positive numbers in order, received {span}")
        if not 0 <= self.noise < np.inf:
            problems.append(f"noise must be at least 0, received {self.noise}")
        if problems:
            raise ValueError("; ".join(problems))


def add_noise(pixels: "Tensor", augmentation: CountingAugmentation, rng: np.random.Generator) -> "Tensor":
    """Normalized pixels [c, h, w] with uniform noise, if there is some."""
    if not augmentation.noise:
        return pixels
    drawn = rng.uniform(-augmentation.noise, augmentation.noise, size=tuple(pixels.shape))
    return pixels + pixels.new_tensor(drawn)


def unique_pixels(points: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """The pixels int64 [m, 2] that hold exactly one of the points [n, 2] of an image, by row, then column.

    With `classes` [n], int64 [m, 3]: the class of the point is the third column.

    The released code counts points per pixel and keeps the ones: **a pixel with two or more points trains as if it
    were empty**, while the reference count of the evaluation has them all.
    """
    if len(points) == 0:
        return np.zeros((0, 2 if classes is None else 3), dtype=np.int64)
    pixels = np.floor(points[:, ::-1]).astype(np.int64)
    rows_and_columns, first, counts = np.unique(pixels, axis=0, return_index=True, return_counts=True)
    unique = rows_and_columns[counts == 1][:, ::-1]
    return unique if classes is None else np.column_stack([unique, classes[first[counts == 1]]])


def neighbour_distances(points: np.ndarray) -> np.ndarray:
    """Mean distance, float64 [n], of each point [n, 2] to its 3 nearest others (section 2.4.3, third of a target).

    With fewer than 3 others it is the mean over those there are, and 0 for a lonely point.
    """
    if len(points) < 2:
        return np.zeros(len(points))
    distances, _ = KDTree(points).query(points, k=min(len(points), NUM_NEIGHBOURS + 1))
    return distances[:, 1:].mean(axis=1)


def points_in_crop(points: np.ndarray, offset: tuple[int, int], rate: float, tile_size: int) -> tuple[np.ndarray, int]:
    """The points of the crop that starts at `offset` of the image scaled by `rate`.

    As released, the map of points is not resized with the image: the window is cut out of the *unscaled* map, with
    its corner and side divided by the rate and rounded down.

    Args:
        points: int [n, 2 or 3] pixels of the unscaled image, at most one point in a pixel.
        offset: (x, y) of the upper left corner, in pixels of the scaled image.
        rate: Size of the scaled image / size of the unscaled one.
        tile_size: t, in pixels of the scaled image.

    Returns:
        int [N, 2 or 3] pixels of the window, and the window's side.
    """
    side = int(tile_size / rate)
    local = points - np.array([int(offset[0] / rate), int(offset[1] / rate), 0][: points.shape[1]])
    return local[((local[:, :2] >= 0) & (local[:, :2] < side)).all(axis=1)], side


def crop_labels(local: np.ndarray, side: int) -> np.ndarray:
    """Targets of the points [N, 2] of a window, float32 [N, 3]: x, y and mean neighbour distance, divided by its side.

    Neighbours are searched inside of it only, of any class. Classes [N, 3] stay, in the last column.
    """
    local, classes = local[:, :2], local[:, 2:]
    targets = (np.column_stack([local, neighbour_distances(local)]) / side).astype(np.float32)
    return np.column_stack([targets, classes.astype(np.float32)]) if classes.shape[1] else targets


def _flip_and_turn(
    image: np.ndarray, points: np.ndarray, augmentation: CountingAugmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Views of the image, no copies; integer pixels, so a mirrored x is W - 1 - x."""
    flips = rng.random(2) < (augmentation.horizontal_flip, augmentation.vertical_flip)
    quarter_turns = int(rng.integers(1, 4)) if rng.random() < augmentation.rotation else 0
    if flips[0]:
        image = image[:, ::-1]
        points = np.column_stack([image.shape[1] - 1 - points[:, 0], points[:, 1:]])
    if flips[1]:
        image = image[::-1]
        points = np.column_stack([points[:, 0], image.shape[0] - 1 - points[:, 1], points[:, 2:]])
    for _ in range(quarter_turns):  # each one counter-clockwise: the right edge becomes the top
        points = np.column_stack([points[:, 1], image.shape[1] - 1 - points[:, 0], points[:, 2:]])
        image = np.rot90(image)
    return image, points


def scaled_crop(image: np.ndarray, offset: tuple[int, int], rate: float, tile_size: int) -> np.ndarray:
    """uint8 [t, t, 3], the crop at `offset` of the image scaled by Lanczos, without scaling the rest of the image.

    `box` reads neighbours from outside of itself, so this is what scaling the whole image and cropping would give, up
    to the rounding of the box to float32 (1 level in a few of a thousand pixels of white noise, measured; for an image
    of 2299 x 2472 it takes 2 ms instead of 370). Rows go before columns: Pillow up to 12 did that always, Pillow 13
    decides by the shape of what it gets, and bytes in between make the order visible.
    """
    x, y = offset
    if rate == 1:
        return np.array(image[y : y + tile_size, x : x + tile_size])  # writable, as torch wants it
    height, width = image.shape[:2]
    step_x, step_y = width / int(width * rate), height / int(height * rate)
    lower = min(height, (y + tile_size) * step_y)
    margin = int(np.ceil(3 * max(step_y, 1))) + 1  # reach of the kernel: rows further away are not needed
    first_row = max(0, int(y * step_y) - margin)
    rows = Image.fromarray(np.ascontiguousarray(image[first_row : int(lower) + margin + 1]))
    box = (x * step_x, 0, min(width, (x + tile_size) * step_x), rows.height)
    rows = rows.resize((tile_size, rows.height), Image.Resampling.LANCZOS, box=box)
    box = (0, y * step_y - first_row, tile_size, lower - first_row)
    return np.array(rows.resize((tile_size, tile_size), Image.Resampling.LANCZOS, box=box))


def random_tile(
    image: np.ndarray,
    points: np.ndarray,
    tile_size: int,
    num_queries: float,
    augmentation: CountingAugmentation,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray] | None:
    """One augmented tile of an image.

    Args:
        image: uint8 [H, W, 3], H and W at least `tile_size`.
        points: int [n, 2 or 3], see [`unique_pixels`].
        tile_size: t.
        num_queries: Crops with this many points or more are not accepted (released): the matcher needs a query per
            point. Empty crops are.
        augmentation: What may happen.
        rng: Where all randomness comes from.

    Returns:
        uint8 [t, t, 3] and float32 [N, 3 or 4] (see [`crop_labels`]), or `None` after 100 crops that were too full.
    """
    image, points = _flip_and_turn(image, points, augmentation, rng)
    height, width = image.shape[:2]
    rate = float(rng.choice(augmentation.scale_rates)) if rng.random() < augmentation.scale else 1.0
    if min(height, width) * rate <= tile_size:
        rate = 1.0
    is_gray = rng.random() < augmentation.grayscale
    for _ in range(MAX_CROP_ATTEMPTS):
        y = int(rng.integers(int(height * rate) - tile_size + 1))
        x = int(rng.integers(int(width * rate) - tile_size + 1))
        local, side = points_in_crop(points, (x, y), rate, tile_size)
        if len(local) < num_queries:
            crop = scaled_crop(image, (x, y), rate, tile_size)
            if is_gray:
                crop = np.repeat(np.asarray(Image.fromarray(crop).convert("L"))[:, :, None], 3, axis=2)
            return crop, crop_labels(local, side)
    return None
