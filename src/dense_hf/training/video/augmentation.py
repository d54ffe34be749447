"""Random scale, crop, mirroring and colours of training clips (the numbers and their order are the released code's).

Letters: T frames of a clip, target last; H, W frame; H', W' scaled frame; h, w crop.

Scale, crop and mirroring are the same for all frames of a clip, except in near clips (below); colours and damages are
drawn for each frame on its own.
Everything random comes from the one `numpy.random.Generator` that a caller passes in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...data.frame_damage import DAMAGES, damage_frame
from ...data.labels import IGNORED
from ...options import option

MAX_CROP_REDRAWS = 10
# what a camera moves by in a near clip, at most: its zoom, and its shift in sides of the crop
NEAR_ZOOM, NEAR_SHIFT = 0.15, 0.04


@dataclass
class ClipAugmentation:
    """What may happen to a training clip, and how often. The defaults are the released recipe for VSPW.

    Raises:
        ValueError: A number is out of range; the message lists all of them.
    """

    scale: list[int] = option(
        [853, 480], "Long and short side that a frame is scaled to fit, before the random factor."
    )
    scale_factors: list[float] = option([0.5, 2.0], "Least and largest random factor of both.")
    crop_size: list[int] = option([480, 480], "Height and width of a crop.")
    max_class_share: float = option(
        0.75, "A crop is drawn again if one class has this share of the target's labelled pixels."
    )
    horizontal_flip: float = option(0.5, "Probability of mirroring left and right.")
    colour: float = option(0.5, "Probability of each of the four changes of colour.")
    brightness: float = option(32.0, "Largest change of brightness, of 255 levels.")
    contrast: list[float] = option([0.5, 1.5], "Range of its factor.")
    saturation: list[float] = option([0.5, 1.5], "Range of its factor.")
    hue: int = option(18, "Largest change of hue, in steps of 2 degrees.")
    damage: float = option(
        0.0, "Probability of damaging each frame: noise, flicker, blur, black or something in front. 0 is released."
    )
    near_clips: float = option(
        0.0,
        "Share of clips made of one still, its target, seen by a camera that zooms and shifts a little: for videos "
        "whose frames are far apart. 0 is released.",
    )

    def __post_init__(self):
        problems = [
            f"{name} must be a probability in [0, 1], received {getattr(self, name)}"
            for name in ("max_class_share", "horizontal_flip", "colour", "damage", "near_clips")
            if not 0 <= getattr(self, name) <= 1
        ]
        for name in ("scale", "crop_size"):
            sides = getattr(self, name)
            if len(sides) != 2 or min(sides) < 1 or any(int(side) != side for side in sides):
                problems.append(f"{name} must be two whole numbers from 1 on, received {sides}")
        for name in ("scale_factors", "contrast", "saturation"):
            ends = getattr(self, name)
            if len(ends) != 2 or not 0 < ends[0] <= ends[1] < np.inf:
                problems.append(f"{name} must be two positive numbers, the smaller first, received {ends}")
        if not 0 <= self.brightness <= 255 or not 0 <= self.hue <= 90:
            problems.append(f"brightness must be 0 to 255 and hue 0 to 90, received {self.brightness} and {self.hue}")
        if problems:
            raise ValueError("; ".join(problems))


def scaled_size(size: tuple[int, int], scale: Sequence[int], factor: float) -> tuple[int, int]:
    """(H', W') of a frame (H, W) that fits `scale` times `factor`: long side in the longer, short in the shorter.

    Both products are cut to whole pixels before, and the result is rounded to them (released).
    """
    long, short = sorted((int(side * factor) for side in scale), reverse=True)
    ratio = min(long / max(size), short / min(size))
    return max(1, int(size[0] * ratio + 0.5)), max(1, int(size[1] * ratio + 0.5))


def _source_range(length: int, scaled: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For pixels start, start + 1, ... of a scaled line: the two source pixels and the weight of the second."""
    places = ((np.arange(start, start + count) + 0.5) * (length / scaled) - 0.5).clip(0, length - 1)
    lower = np.floor(places).astype(np.int64)
    return lower, np.minimum(lower + 1, length - 1), (places - lower).astype(np.float32)


def scaled_window(
    pixels: np.ndarray, size: tuple[int, int], corner: tuple[int, int], window: tuple[int, int]
) -> np.ndarray:
    """A window of a scaled frame, without scaling the rest of it.

    Bilinear between the four nearest pixels, also where the frame shrinks (as OpenCV does; Pillow would blur more).

    Args:
        pixels: uint8 [H,W,3].
        size: (H', W').
        corner: (row, column) of the window in the scaled frame.
        window: (h, w), inside the scaled frame.

    Returns:
        uint8 [h,w,3].
    """
    top, bottom, down = _source_range(pixels.shape[0], size[0], corner[0], window[0])
    left, right, along = _source_range(pixels.shape[1], size[1], corner[1], window[1])
    first = left[0]
    strip = pixels[:, first : right[-1] + 1].astype(np.float32)
    rows = strip[top] + down[:, None, None] * (strip[bottom] - strip[top])
    left, right = rows[:, left - first], rows[:, right - first]
    return np.rint(left + along[:, None] * (right - left)).astype(np.uint8)


def scaled_labels_window(
    labels: np.ndarray, size: tuple[int, int], corner: tuple[int, int], window: tuple[int, int]
) -> np.ndarray:
    """The labels [h,w] of a window of a scaled map [H,W]: pixel i shows source pixel floor(i H / H') (as OpenCV)."""
    rows, columns = (
        (np.arange(start, start + count) * length) // scaled
        for length, scaled, start, count in zip(labels.shape, size, corner, window)
    )
    return labels[rows[:, None], columns]


def draw_corner(
    rng: np.random.Generator,
    labels: np.ndarray,
    size: tuple[int, int],
    window: tuple[int, int],
    max_class_share: float,
) -> tuple[int, int]:
    """Corner (row, column) of a crop. It is drawn again, up to ten times, while the target's labels are too uniform.

    Labels are uniform if fewer than two classes are in the window, or one has `max_class_share` of its labelled
    pixels or more. The last draw stands whatever its labels are (released).

    Args:
        rng: where all randomness comes from.
        labels: of the target, uint8 [H,W], not scaled.
        size: (H', W').
        window: (h, w), inside the scaled frame.
        max_class_share: 1 accepts the first draw.
    """
    for _ in range(1 + MAX_CROP_REDRAWS):
        corner = (int(rng.integers(size[0] - window[0] + 1)), int(rng.integers(size[1] - window[1] + 1)))
        if max_class_share >= 1:
            break
        counts = np.bincount(scaled_labels_window(labels, size, corner, window).ravel(), minlength=256)[:IGNORED]
        if (counts > 0).sum() > 1 and counts.max() / counts.sum() < max_class_share:
            break
    return corner


def near_views(
    rng: np.random.Generator,
    size: tuple[int, int],
    corner: tuple[int, int],
    window: tuple[int, int],
    shares: Sequence[float],
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a camera that moves steadily saw the frames of a clip, if all are made of one still.

    Args:
        rng: where all randomness comes from.
        size: (H', W') of the scaled target.
        corner: (row, column) of its window.
        window: (h, w), inside the scaled target.
        shares: of each frame, how far the camera was from where it ends: 0 for the target, 1 for the oldest frame.

    Returns:
        Size of the scaled still, and corner of the window in it, for each frame. Windows do not leave the still, so a
        camera near its edge moves less.
    """
    zoom = rng.uniform(-NEAR_ZOOM, NEAR_ZOOM)
    shift = rng.uniform(-NEAR_SHIFT, NEAR_SHIFT, size=2)
    views = []
    for share in shares:
        sizes, corners = [], []
        for whole, start, side, part in zip(size, corner, window, shift):
            scaled = max(round(whole * (1 + zoom * share)), side)
            middle = (start + side / 2) * scaled / whole + part * share * side
            sizes.append(scaled)
            corners.append(min(max(round(middle - side / 2), 0), scaled - side))
        views.append((tuple(sizes), tuple(corners)))
    return views


def distort_colours(pixels: np.ndarray, augmentation: ClipAugmentation, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, saturation and hue of a frame uint8 [h,w,3], each with the same probability.

    Contrast comes before or after saturation and hue. Values are cut to 8 bits after each step (released). Hue turns
    in Pillow's 256 steps, where the released code has OpenCV's 180.
    """
    does = rng.random(4) < augmentation.colour
    contrast_first = rng.random() < 0.5
    brightness = rng.uniform(-augmentation.brightness, augmentation.brightness)
    contrast = _between(rng, augmentation.contrast)
    saturation = _between(rng, augmentation.saturation)
    hue = int(rng.integers(-augmentation.hue, max(augmentation.hue, 1 - augmentation.hue)))
    if does[0]:
        pixels = _linear(pixels, 1, brightness)
    if does[1] and contrast_first:
        pixels = _linear(pixels, contrast, 0)
    if does[2] or does[3]:
        planes = np.array(Image.fromarray(pixels).convert("HSV"))
        if does[2]:
            planes[..., 1] = _linear(planes[..., 1], saturation, 0)
        if does[3]:
            planes[..., 0] += np.uint8(round(hue * 256 / 180) % 256)  # wraps around, as a hue does
        pixels = np.asarray(Image.fromarray(planes, mode="HSV").convert("RGB"))
    if does[1] and not contrast_first:
        pixels = _linear(pixels, contrast, 0)
    return pixels


def _between(rng: np.random.Generator, ends: Sequence[float]) -> float:
    return rng.uniform(ends[0], ends[1])


def _linear(values: np.ndarray, factor: float, shift: float) -> np.ndarray:
    return (values.astype(np.float32) * factor + shift).clip(0, 255).astype(np.uint8)


def augment_clip(
    frames: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    augmentation: ClipAugmentation,
    rng: np.random.Generator,
    camera: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A random crop of a clip.

    Args:
        frames: T arrays uint8 [H,W,3], the target last.
        labels: T arrays uint8 [H,W], `IGNORED` where there is no label.
        augmentation: what may happen.
        rng: where all randomness comes from.
        camera: the shares of `near_views`, for a near clip.

    Returns:
        uint8 [T,h,w,3] and uint8 [T,h,w]. Smaller than the crop size where the scaled frame is.
    """
    size = scaled_size(frames[0].shape[:2], augmentation.scale, _between(rng, augmentation.scale_factors))
    window = (min(size[0], augmentation.crop_size[0]), min(size[1], augmentation.crop_size[1]))
    corner = draw_corner(rng, labels[-1], size, window, augmentation.max_class_share)
    step = -1 if rng.random() < augmentation.horizontal_flip else 1
    views = [(size, corner)] * len(frames) if camera is None else near_views(rng, size, corner, window, camera)
    crops = [scaled_window(frame, *view, window)[:, ::step] for frame, view in zip(frames, views)]
    crops = [distort_colours(np.ascontiguousarray(crop), augmentation, rng) for crop in crops]
    if augmentation.damage:
        crops = [_damaged_at_random(crop, augmentation.damage, rng) for crop in crops]
    maps = [scaled_labels_window(one, *view, window)[:, ::step] for one, view in zip(labels, views)]
    return np.stack(crops), np.stack(maps)


def _damaged_at_random(pixels: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    kind = list(DAMAGES)[int(rng.integers(len(DAMAGES)))]
    return damage_frame(pixels, kind, rng) if rng.random() < probability else pixels
