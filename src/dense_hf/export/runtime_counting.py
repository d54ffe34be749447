"""From pixels to tiles or parts, and from what an exported counter says of them to a count, with numpy alone.

The rules are those of `counting.tile_merging` and of `counting.image_processing_counter`, which need torch; the
geometry is the same code. Tests compare both.

T tiles of an image; P parts; Q queries or proposals; n points; h x w a density map.
"""

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any, TypedDict

import numpy as np
from PIL import Image

from ..counting.tiling import PART_SETTINGS, PartLayout, TileLayout, parts_at_once

CROWDED_SHARE = 0.9  # as in `counting.tile_merging`

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]


class ExportedCount(TypedDict):
    """As `ObjectCount`, in arrays: `points` float32 [n, 2] (x, y), `scores` float32 [n], best first."""

    count: int
    exact_count: float
    points: np.ndarray
    scores: np.ndarray
    density_count: float | None
    crowded_tiles: int


class _Counting:
    """What both kinds share.

    Args:
        settings: of the processor.
    """

    def __init__(self, settings: Mapping[str, Any]):
        self.settings = settings
        self.threshold = float(settings["threshold"])

    def normalized(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [height, width, 3] -> float32 [3, height, width]; [1, height, width] of a gray model."""
        values = pixels.astype(np.float32)
        factor = self.settings["rescale_factor"] if self.settings["do_rescale"] else 1.0
        mean, std = (np.atleast_1d(np.array(self.settings[key], np.float32)) for key in ("image_mean", "image_std"))
        if self.settings.get("do_grayscale"):
            weights = np.array([0.2989, 0.587, 0.114], np.float32)
            gray = values[..., 0] * weights[0] + values[..., 1] * weights[1] + values[..., 2] * weights[2]
            values, mean, std = np.floor(gray)[..., None], mean[:1], std[:1]
        if self.settings["do_normalize"]:
            values = (values - mean / np.float32(factor)) / (std / np.float32(factor))
        else:
            values = values * np.float32(factor)
        return values.transpose(2, 0, 1)


class TileCounting(_Counting):
    """Tiles of one size: IOCFormer and CLTR."""

    def __call__(self, run: Run, pixels: np.ndarray, threshold: float | None, batch_size: int) -> ExportedCount:
        """Count an image uint8 [height, width, 3]; without a threshold in the processor's way."""
        size = self.settings["tile_size"]
        layout = TileLayout(pixels.shape[0], pixels.shape[1], size, self.settings["tile_overlap"])
        outputs: dict[str, list[np.ndarray]] = {}
        for first in range(0, len(layout), batch_size):
            indices = range(first, min(first + batch_size, len(layout)))
            tiles = np.zeros((len(indices), 3, size, size), np.float32)
            for tile, index in zip(tiles, indices):
                row, column = layout[index]
                seen = pixels[max(0, row.start) : row.start + size, max(0, column.start) : column.start + size]
                tile[:, size - seen.shape[0] :, size - seen.shape[1] :] = self.normalized(seen)
            for name, values in run(tiles).items():
                outputs.setdefault(name, []).append(values)
        merged = {name: _finite(name, np.concatenate(values)) for name, values in outputs.items()}
        densities = self._densities(layout, merged["density_map"]) if "density_map" in merged else None
        if "logits" not in merged:
            return _of_density(0.0 if densities is None else float(densities.sum()))
        return self._points(layout, merged["logits"], merged["pred_points"], densities, self.threshold_for(threshold))

    def threshold_for(self, threshold: float | None) -> float | None:
        """The least score that counts if the caller says this; `None` where the density says how many points."""
        if threshold is not None:
            return threshold
        return None if self.settings.get("count_by") == "density" else self.threshold

    def _densities(self, layout: TileLayout, maps: np.ndarray) -> np.ndarray:
        """Sums [T] over the cells [T, 1, h, w] that tiles own."""
        rows, columns = (
            np.stack([_owned(span, spans, cells, layout.tile_size) for span in spans])
            for spans, cells in zip((layout.rows, layout.columns), maps.shape[-2:])
        )
        maps = maps[:, 0].astype(np.float64).reshape(layout.num_rows, layout.num_columns, *maps.shape[-2:])
        return np.einsum("rcij,ri,cj->rc", maps, rows.astype(float), columns.astype(float)).ravel()

    def _points(
        self,
        layout: TileLayout,
        logits: np.ndarray,
        points: np.ndarray,
        densities: np.ndarray | None,
        threshold: float | None,
    ) -> ExportedCount:
        scores = _sigmoid(logits)  # [T, Q, 2]: both channels count, as released
        starts = np.array([(column.start, row.start) for row in layout.rows for column in layout.columns], float)
        places = points[..., :2].astype(np.float64) * layout.tile_size + starts[:, None]
        owned = np.ones(places.shape[:2], bool)
        if layout.overlap:
            inner_y = [-np.inf, *(span.core_start for span in layout.rows[1:]), np.inf]
            inner_x = [-np.inf, *(span.core_start for span in layout.columns[1:]), np.inf]
            for tile in range(len(layout)):
                row, column = divmod(tile, layout.num_columns)
                x, y = places[tile].T
                owned[tile] = (x >= inner_x[column]) & (x < inner_x[column + 1])
                owned[tile] &= (y >= inner_y[row]) & (y < inner_y[row + 1])
        if threshold is None:
            if densities is None:
                raise ValueError("Points by density need a model with a density branch. Received: one without")
            scores = scores[..., 1:]
            wanted = np.diff(np.cumsum([0.0, *densities]).round()).astype(int)
            order = np.argsort(-np.where(owned, scores[..., 0], -1), axis=1, kind="stable")
            counts = (np.argsort(order, axis=1) < wanted[:, None])[..., None]
            crowded = (wanted > 0) & (wanted >= CROWDED_SHARE * owned.sum(axis=1))
        else:
            counts = scores >= threshold
            crowded = counts.any(axis=-1).sum(axis=-1) >= CROWDED_SHARE * scores.shape[1]
        chosen = np.flatnonzero(counts & owned[..., None])
        order = np.argsort(-scores.ravel()[chosen], kind="stable")[: scores.shape[0] * scores.shape[1]]
        chosen = chosen[order]
        inside = _inside(places.astype(np.float32), layout.width, layout.height)
        return ExportedCount(
            count=len(chosen),
            exact_count=float(len(chosen)),
            points=inside.reshape(-1, 2)[chosen // scores.shape[2]],
            scores=scores.ravel()[chosen],
            density_count=None if densities is None else float(densities.sum()),
            crowded_tiles=int(crowded.sum()),
        )


class PartCounting(_Counting):
    """Whole images, or parts of them that are added up: the other counters."""

    def threshold_for(self, threshold: float | None) -> float:
        """The least score that counts, if the caller says this."""
        return self.threshold if threshold is None else threshold

    def __call__(self, run: Run, pixels: np.ndarray, threshold: float | None, batch_size: int) -> ExportedCount:
        """Count an image uint8 [height, width, 3]; without a threshold with the processor's."""
        threshold = self.threshold_for(threshold)
        given = {name: self.settings[name] for name in PART_SETTINGS if name in self.settings}  # without None
        layout = PartLayout(pixels.shape[0], pixels.shape[1], **given)
        if layout.resized != pixels.shape[:2]:
            picture = Image.fromarray(pixels).resize(layout.resized[::-1], Image.Resampling.BICUBIC)
            pixels = np.asarray(picture)
        parts = []
        for index, (top, left, height, width) in enumerate(layout.boxes):
            part = self.normalized(pixels[top : top + height, left : left + width])
            padded = layout.padded(index)
            parts.append(np.pad(part, ((0, 0), (0, padded[0] - height), (0, padded[1] - width))))
        total: float | None = None
        places, scores, index = [], [], 0
        for shape, group in groupby(parts, key=lambda part: part.shape):
            same = list(group)
            number = parts_at_once(batch_size, *shape[-2:])
            for first in range(0, len(same), number):
                outputs = run(np.stack(same[first : first + number]))
                outputs = {name: _finite(name, values) for name, values in outputs.items()}
                for row in range(len(next(iter(outputs.values())))):
                    if "density_map" in outputs:
                        maps: Any = outputs["density_map"][row, 0].astype(np.float64)  # sliced as a tensor is
                        total = (total or 0.0) + float(layout.owned(maps, index, shape[1:]).sum())
                    if (found := self._find(outputs, row, threshold)) is not None:
                        places.append(self._in_image(layout, found[0], index, shape[1:]))
                        scores.append(found[1])
                    index += 1
        if not places:
            return _of_density(total or 0.0)
        points, values = np.concatenate(places), np.concatenate(scores)
        order = np.argsort(-values, kind="stable")
        return ExportedCount(
            count=len(values),
            exact_count=float(len(values)),
            points=points[order],
            scores=values[order],
            density_count=total,
            crowded_tiles=0,
        )

    @staticmethod
    def _find(outputs: Mapping[str, np.ndarray], row: int, threshold: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Points [n, 2] as fractions of the input, and scores [n]; `None` of a density counter."""
        if "blob_logits" in outputs:
            return find_blobs(_sigmoid(outputs["blob_logits"][row, 0]), threshold)
        if "logits" not in outputs:
            return None
        logits = outputs["logits"][row]
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        score = (shares / shares.sum(axis=-1, keepdims=True))[:, 1]
        return outputs["pred_points"][row, score > threshold, :2], score[score > threshold]

    @staticmethod
    def _in_image(layout: PartLayout, points: np.ndarray, part: int, size: tuple[int, ...]) -> np.ndarray:
        """Fractions of an input of `size` (height, width) -> pixels of the image, float32 [n, 2]."""
        top, left = layout.boxes[part][:2]
        inside = points.astype(np.float64) * [size[1], size[0]] + [left, top]
        scale = [layout.width / layout.resized[1], layout.height / layout.resized[0]]
        return _inside((inside * scale).astype(np.float32), layout.width, layout.height)


def find_blobs(probabilities: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Places [n, 2] (x, y) of groups of touching pixels [h, w] above the threshold, as fractions; scores [n].

    The number of a blob is that of its first pixel, which spreads until nothing changes.
    """
    height, width = probabilities.shape
    mask = probabilities > threshold
    nothing = height * width
    numbers = np.where(mask, np.arange(nothing).reshape(height, width), nothing)
    while True:
        padded = np.pad(numbers, 1, constant_values=nothing)
        around = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        spread = np.where(mask, np.minimum.reduce(around), nothing)
        if (spread == numbers).all():
            break
        numbers = spread
    found = [numbers == number for number in np.unique(numbers[mask])]
    places = np.array([[where.nonzero()[1].mean(), where.nonzero()[0].mean()] for where in found]).reshape(-1, 2)
    scores = np.array([probabilities[where].max() for where in found], np.float32)
    return ((places + 0.5) / [width, height]).astype(np.float32), scores


def _of_density(total: float) -> ExportedCount:
    return ExportedCount(
        count=max(0, round(total)),
        exact_count=total,
        points=np.zeros((0, 2), np.float32),
        scores=np.zeros(0, np.float32),
        density_count=total,
        crowded_tiles=0,
    )


def _owned(span: Any, spans: Any, cells: int, tile_size: int) -> np.ndarray:
    """Which of the cells of a tile along an axis belong to it; outermost tiles own the padding."""
    centers = (np.arange(cells) + 0.5) * tile_size / cells + span.start
    after = (centers >= span.core_start) | (span is spans[0])
    return after & ((centers < span.core_stop) | (span is spans[-1]))


def _inside(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Points moved to the nearest place in [0, width) and [0, height)."""
    limits = np.array([width, height], np.float32)
    return np.clip(points, np.float32(0), np.nextafter(limits, np.float32(0)))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-values))).astype(np.float32)


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"The model's {name} must be finite. Received: NaN or infinity")
    return values
