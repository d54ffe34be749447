"""A synthetic miniature data set in the layout of IOCfish5K, to try everything without the real one.

Each object is a small fish-like shape with the color of its place and its scene's texture from another place, a
little brighter or darker, with a soft edge: all statistics but that shift are those of the background, as with
camouflaged animals.
With several classes, an object is a fish, a shell (a ring) or a star, and the annotation says which.
The images are drawn, not photographed; no number measured on them says anything about real scenes.

h, w: image size; n: objects of an image.
"""

import io
import os

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from .files import new_directory, write_file
from .point_folder import SPLIT_LISTS
from .points import write_points

KINDS = ("fish", "shell", "star")


def generate_miniature_set(
    directory: str | os.PathLike,
    num_train: int = 16,
    num_validation: int = 4,
    num_test: int = 4,
    seed: int = 0,
    image_size: tuple[int, int] = (384, 320),
    size_variation: float = 0.2,
    max_objects: int = 40,
    contrast: float = 1.0,
    num_classes: int = 1,
    disable_progress: bool | None = None,
) -> None:
    """Write a synthetic set: images/*.jpg, annotations/*.xml and the lists of ids.

    Image i of a split depends only on (seed, split, i) and the options: a larger set begins with the smaller one.
    The second image of each split has no objects. A split of 0 images has no list.

    Args:
        directory: a new or empty folder; it appears when all files are written.
        num_train, num_validation, num_test: images per split, at least one in all.
        image_size: (width, height) in pixels, the mean over the set.
        size_variation: each side is drawn from (1 - this) to (1 + this) times its mean, 0 to 0.9.
        max_objects: most objects of an image. Objects keep a distance, so a small image may get fewer than drawn.
        contrast: difference of the objects' brightness to the scene, in standard deviations of the scene.
        num_classes: 2 are "fish" and "shell", 3 also "star"; with 1 all are fish, which have no name.
        disable_progress: no progress bar; None: none unless on a terminal.

    Raises:
        ValueError: for an argument out of its range, or if `directory` has something in it.
    """
    sizes = dict(zip(SPLIT_LISTS, (num_train, num_validation, num_test)))
    if min(sizes.values()) < 0 or not any(sizes.values()):
        raise ValueError(f"the numbers of images must not be negative, nor all 0. Received: {sizes}")
    if min(image_size) < 32 or not 0 <= size_variation <= 0.9 or max_objects < 0 or not 0 <= contrast < np.inf:
        raise ValueError(
            "image_size must be at least 32 x 32, size_variation 0 to 0.9, max_objects and contrast not negative. "
            f"Received: {image_size}, {size_variation}, {max_objects}, {contrast}"
        )
    if not 1 <= num_classes <= len(KINDS):
        raise ValueError(f"num_classes must be 1 to {len(KINDS)}. Received: {num_classes}")
    todo = [(split, index) for split, size in sizes.items() for index in range(size)]
    with new_directory(directory) as folder:
        (folder / "images").mkdir()
        (folder / "annotations").mkdir()
        for split, index in tqdm(todo, desc="Drawing synthetic images", unit=" images", disable=disable_progress):
            rng = np.random.default_rng((seed, list(SPLIT_LISTS).index(split), index))
            scale = rng.uniform(1 - size_variation, 1 + size_variation, size=2)
            width, height = (max(32, round(side)) for side in image_size * scale)
            most = 0 if index == 1 else max_objects
            number = int(rng.integers(min(1, most), most + 1))
            pixels, points, classes = draw_kinds(rng, (width, height), number, contrast, num_classes)
            names = None if num_classes == 1 else [KINDS[kind] for kind in classes]
            name = f"synthetic_{split}_{index:05d}"
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, format="JPEG", quality=95)
            (folder / "images" / f"{name}.jpg").write_bytes(buffer.getvalue())
            write_points(folder / "annotations" / f"{name}.xml", points, f"{name}.jpg", (width, height), names)
        for split, size in sizes.items():
            if size:
                names = [f"synthetic_{split}_{index:05d}.jpg\n" for index in range(size)]
                write_file(folder / SPLIT_LISTS[split], "".join(names).encode())


def draw_scene(
    rng: np.random.Generator, size: tuple[int, int], num_objects: int, contrast: float
) -> tuple[np.ndarray, np.ndarray]:
    """One synthetic scene: uint8 pixels [h,w,3], and the whole-numbered centres of its objects, float32 [n,2] (x, y).

    Args:
        rng: the only source of randomness.
        size: (width, height) in pixels.
        num_objects: n is this or, where they do not fit without touching, less.
        contrast: see `generate_miniature_set`.
    """
    pixels, points, _ = draw_kinds(rng, size, num_objects, contrast)
    return pixels, points


def draw_kinds(
    rng: np.random.Generator, size: tuple[int, int], num_objects: int, contrast: float, num_classes: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with objects of several kinds, and which each is, int64 [n]."""
    width, height = size
    scene = texture(rng, width, height)
    other_place = np.roll(scene, rng.integers(24, 32 + np.array(scene.shape[:2]) // 2), axis=(0, 1))
    deviation = scene.std()
    points, radii = _place_objects(rng, size, num_objects)
    # nothing is drawn from `rng` for one kind: sets of earlier versions stay as they were
    classes = np.zeros(len(points), np.int64) if num_classes == 1 else rng.integers(num_classes, size=len(points))
    for (x, y), radius, kind in zip(points, radii, classes):
        alpha, top, left = _mask(rng, KINDS[kind], x, y, radius, width, height)
        window = np.s_[top : top + alpha.shape[0], left : left + alpha.shape[1]]
        shift = contrast * deviation * rng.choice((-1.0, 1.0)) * rng.uniform(0.8, 1.2)
        # the color of the place itself, the grain of another: only the shift tells them apart
        fill = other_place[window] - other_place[window].mean(axis=(0, 1)) + scene[window].mean(axis=(0, 1)) + shift
        scene[window] += alpha[..., None] * (fill - scene[window])
    return scene.clip(0, 255).round().astype(np.uint8), points.astype(np.float32), classes


def texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise of several wavelengths around a blue-green-brown color: float32 [h,w,3], 0 to 255."""
    color = rng.uniform((30, 60, 50), (110, 130, 120))
    scene = np.broadcast_to(color, (height, width, 3)).astype(np.float32)
    for wavelength, strength in ((64, 22.0), (16, 12.0), (6, 9.0), (2, 6.0)):
        grid = (height // wavelength + 2, width // wavelength + 2)
        luminance, tint = rng.normal(size=grid), rng.normal(size=(*grid, 3))
        for channel in range(3):
            noise = (luminance + 0.35 * tint[..., channel]).astype(np.float32)
            scene[..., channel] += strength * np.asarray(
                Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
            )
    return scene


def _place_objects(rng: np.random.Generator, size: tuple[int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole-numbered centres [n,2] inside the image, and half lengths [n], such that no two objects touch."""
    points, radii = np.zeros((0, 2)), np.zeros(0)
    for _ in range(20 * count):  # more attempts than that rarely find a place where there is one
        if len(points) == count:
            break
        point, radius = rng.integers(size), rng.uniform(6, 12)
        if (np.hypot(*(points - point).T) > radii + radius + 4).all():
            points, radii = np.vstack([points, point]), np.append(radii, radius)
    return points, radii


def _mask(
    rng: np.random.Generator, kind: str, x: float, y: float, radius: float, width: int, height: int
) -> tuple[np.ndarray, int, int]:
    """Opacity [a,b] of an object, cut at the image border, and the row and column of its corner.

    A fish is a body with a tail, a shell a ring, a star has five arms.
    """
    reach = int(radius) + 2
    top, left = max(0, int(y) - reach), max(0, int(x) - reach)
    rows, columns = np.mgrid[top : min(height, int(y) + reach + 1), left : min(width, int(x) + reach + 1)]
    angle = rng.uniform(0, 2 * np.pi)
    along = ((columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)) / radius
    across = ((rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)) / radius
    edge = 1.5 / radius  # one and a half pixels from outside to inside
    if kind != "fish":
        distance, direction = np.hypot(along, across), np.arctan2(across, along)
        inside = 0.25 - np.abs(distance - 0.65) if kind == "shell" else 0.6 + 0.35 * np.cos(5 * direction) - distance
        return (inside / edge + 0.5).clip(0, 1).astype(np.float32), top, left
    body = 1 - np.hypot(along / 0.75, across / rng.uniform(0.35, 0.55))
    tail = np.minimum(0.5 * (-along - 0.55) - np.abs(across) + 0.2, along + 1)
    return (np.maximum(body, tail) / edge + 0.5).clip(0, 1).astype(np.float32), top, left
