"""A synthetic miniature video set in the layout of VSPW, to try everything without the real one.

A textured scene drifts past, a wall above a ground; discs, squares and triangles move over it on straight lines and
bounce off the borders. Every frame has fresh noise and a flicker of brightness, so several frames tell more than one.
The frames are drawn, not filmed; no number measured on them says anything about real scenes.

H, W: frame size; C: frames of a video.
"""

import json
import os

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from .files import new_directory, write_file
from .images import png_bytes
from .miniature_set import texture
from .video_folder import CLASS_FILE, VIDEO_LISTS

MINIATURE_CLASSES = ("wall", "ground", "disc", "square", "triangle")
_OTHERS, _VOID = 0, 255  # the two numbers of VSPW that have no label


def generate_miniature_videos(
    directory: str | os.PathLike,
    num_train: int = 6,
    num_validation: int = 2,
    num_test: int = 2,
    num_frames: int = 24,
    seed: int = 0,
    frame_size: tuple[int, int] = (160, 120),
    noise: float = 12.0,
    disable_progress: bool | None = None,
) -> None:
    """Write a synthetic set: data/*/origin/*.jpg, data/*/mask/*.png, the lists of videos and the class names.

    Video i of a split depends only on (seed, split, i) and the options. As in VSPW, number 0 in a mask is "others" (a
    patch that drifts with the scene) and 255 is void (the outline of the shapes).

    Args:
        directory: a new or empty folder; it appears when all files are written.
        num_train, num_validation, num_test: videos per split, at least one in all.
        num_frames: C, of each video.
        frame_size: (width, height) in pixels.
        noise: standard deviation of the noise of each frame, in levels of 255.
        disable_progress: no progress bar; None: none unless on a terminal.

    Raises:
        ValueError: for an argument out of its range, or if `directory` has something in it.
    """
    sizes = dict(zip(VIDEO_LISTS, (num_train, num_validation, num_test)))
    if min(sizes.values()) < 0 or not any(sizes.values()):
        raise ValueError(f"the numbers of videos must not be negative, nor all 0. Received: {sizes}")
    if min(frame_size) < 32 or num_frames < 1 or not 0 <= noise < np.inf:
        raise ValueError(
            "frame_size must be at least 32 x 32, num_frames at least 1 and noise not negative. "
            f"Received: {frame_size}, {num_frames}, {noise}"
        )
    todo = [(split, index) for split, size in sizes.items() for index in range(size)]
    with new_directory(directory) as folder:
        for split, index in tqdm(todo, desc="Drawing synthetic videos", unit=" videos", disable=disable_progress):
            rng = np.random.default_rng((seed, list(VIDEO_LISTS).index(split), index))
            frames, masks = draw_video(rng, frame_size, num_frames, noise)
            video = folder / "data" / f"synthetic_{split}_{index:04d}"
            (video / "origin").mkdir(parents=True)
            (video / "mask").mkdir()
            for number, (frame, mask) in enumerate(zip(frames, masks)):
                Image.fromarray(frame).save(video / "origin" / f"{number:08d}.jpg", quality=95)
                (video / "mask" / f"{number:08d}.png").write_bytes(png_bytes(Image.fromarray(mask)))
        numbers = {"others": "0"} | {name: str(number) for number, name in enumerate(MINIATURE_CLASSES, start=1)}
        write_file(folder / CLASS_FILE, json.dumps(numbers, indent=1).encode())
        for split, size in sizes.items():
            if size:
                names = [f"synthetic_{split}_{index:04d}\n" for index in range(size)]
                write_file(folder / VIDEO_LISTS[split], "".join(names).encode())


def draw_video(
    rng: np.random.Generator, size: tuple[int, int], num_frames: int, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """One synthetic video: uint8 frames [C,H,W,3] and the numbers of its masks, uint8 [C,H,W].

    Args:
        rng: the only source of randomness.
        size: (width, height) in pixels.
        num_frames: C.
        noise: see `generate_miniature_videos`.
    """
    width, height = size
    drift = rng.uniform(-1, 1, 2) * min(size) / 120
    margin = int(np.ceil(np.abs(drift).max() * num_frames)) + 1
    scene_size = (width + 2 * margin, height + 2 * margin)
    scene, numbers = _draw_scene(rng, scene_size)
    shapes = [_Shape(rng, kind, size) for kind in rng.permutation([3, 4, 5, *rng.integers(3, 6, 2)])]
    frames = np.empty((num_frames, height, width, 3), dtype=np.uint8)
    masks = np.empty((num_frames, height, width), dtype=np.uint8)
    for number in range(num_frames):
        left, top = (margin + np.rint(drift * number)).astype(int)
        window = np.s_[top : top + height, left : left + width]
        pixels, mask = scene[window].copy(), numbers[window].copy()
        for shape in shapes:
            shape.draw(pixels, mask, number)
        pixels = pixels * rng.uniform(0.94, 1.06) + rng.normal(0, noise, pixels.shape)
        frames[number], masks[number] = pixels.clip(0, 255).round(), mask
    return frames, masks


def _draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels float32 [h,w,3] of a wall above a ground with a patch of something else, and their numbers [h,w]."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    horizon = height * rng.uniform(0.4, 0.6) + height * 0.05 * np.sin(columns / width * rng.uniform(3, 9))
    below = rows > horizon
    scene = np.where(below[..., None], texture(rng, width, height), 40 + texture(rng, width, height))
    numbers = np.where(below, 2, 1).astype(np.uint8)
    x, y = rng.integers((0, 0), (width, height))
    patch = np.s_[y : y + height // 6, x : x + width // 6]
    scene[patch] = rng.uniform(0, 255, 3)
    numbers[patch] = _OTHERS
    return scene.astype(np.float32), numbers


class _Shape:
    """A disc (3), square (4) or triangle (5) with a color and a straight path that bounces off the borders."""

    def __init__(self, rng: np.random.Generator, kind: int, size: tuple[int, int]):
        self.kind = int(kind)
        self.size = np.array(size)
        self.radius = rng.uniform(0.08, 0.16) * min(size)
        self.start = rng.uniform(0, self.size)
        self.speed = rng.uniform(0.008, 0.025) * min(size) * rng.choice((-1, 1), 2)
        self.color = rng.uniform(60, 230, 3)

    def draw(self, pixels: np.ndarray, mask: np.ndarray, number: int) -> None:
        """Paint the shape as it is in frame `number` over pixels [H,W,3] and mask [H,W]."""
        place = np.abs((self.start + self.speed * number) % (2 * self.size) - self.size)
        rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
        x, y = (columns - place[0]) / self.radius, (rows - place[1]) / self.radius
        if self.kind == 3:
            outside = np.hypot(x, y)
        elif self.kind == 4:
            outside = np.maximum(np.abs(x), np.abs(y)) * 1.15
        else:
            outside = np.maximum(y * 1.4, np.abs(x) * 1.6 - y * 0.8)
        pixels[outside <= 1] = self.color
        mask[outside <= 1 + 1 / self.radius] = _VOID
        mask[outside <= 1] = self.kind
