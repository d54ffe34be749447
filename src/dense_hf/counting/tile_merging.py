"""From the model's outputs for the tiles of one image to its count and points (thesis section 2.5.1).

The score rule is that of the code behind the published numbers, not of the text ("points with a score above 0.35"):
sigmoid of BOTH class channels, flattened over all tiles; the best (tiles x queries) of them; those with at least the
threshold are counted. So one query can count twice, and a point in the padding counts.

Of a model with several classes, for which nothing is released, a query counts once, as the class of its best channel,
and channel 0, "no object", never.

A deviation that processors may choose (`count_by="density"`): the density branch says how many, the points where. Each
tile has as many points as its density says, those with the best scores, whatever these are. In the thesis the density
branch only guides the queries. Which score is the right threshold differs from picture to picture; the order of the
scores is what a picture can be asked for (docs/results.md has what it is worth).

Shape letters: T tiles of one image; Q queries; n points; g cells of the density map of one tile; K classes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from scipy import ndimage
from transformers.utils import logging

from .tiling import PartLayout, TileLayout, density_of_tiles, density_rows, stitch_density

logger = logging.get_logger(__name__)

# A query finds one object, so a tile where nearly all queries found one probably shows more objects than that.
CROWDED_SHARE = 0.9


class _Count(TypedDict):
    count: int
    exact_count: float
    has_points: bool
    points: torch.Tensor
    scores: torch.Tensor
    density_count: float | None
    tile_counts: torch.Tensor
    crowded_tiles: int
    classes: torch.Tensor
    class_counts: list[int]
    class_density_counts: list[float] | None


class ObjectCount(_Count, total=False):
    """What is known about one image.

    - **count** (`int`): The number of objects: number of points, or the rounded density count of a model without the
      regression branch.
    - **exact_count** (`float`): The same before rounding, which is what errors are measured of.
    - **has_points** (`bool`): Whether objects are counted by their points; else `count` is that of the density map.
    - **points** (float32 `[n, 2]`): (x, y) in pixels of the image, best score first; in [0, width) and [0, height).
    - **scores** (float32 `[n]`): in [threshold, 1], or [0, 1] of points by density.
    - **density_count** (`float` or `None`): Sum of the density map; `None` for a model without the density branch.
    - **tile_counts** (int64 `[T]`): Objects per tile, row by row. They sum to `count` where points are counted.
    - **crowded_tiles** (`int`): Tiles where at least 90 % of the queries found something: their count may be too low.
    - **classes** (int64 `[n]`): of each point, from 0 to K - 1.
    - **class_counts** (K of `int`): Objects of each class; they sum to `count` where points are counted.
    - **class_density_counts** (K of `float`, or `None`): The same of the density map.
    - **by_density** (`bool`, absent means not): The density says how many points there are: both are one opinion.
    - **density_map** (float32 `[height, width]`, only if asked for): Objects per pixel; it sums to `density_count`.
    - **range** (`tuple[int, int]`), **level** (`float`), **tile_ranges** (int64 `[T, 2]`), **unlike** (`list[str]`),
      only of a calibrated model: which numbers of objects are within the range of that level, of the image and of
      each tile, and in what the picture differs from those of the calibration. See `count_ranges.py`.
    """

    by_density: bool
    density_map: torch.Tensor
    range: tuple[int, int]
    level: float
    tile_ranges: torch.Tensor
    unlike: list[str]


def check_threshold(threshold: float | Sequence[float], num_classes: int | None = None) -> None:
    """Refuse what no score can be compared with: a number for all classes, or one for each."""
    values = [threshold] if isinstance(threshold, int | float) else list(threshold)
    if not values or not all(isinstance(value, int | float) and 0 <= value <= 1 for value in values):
        raise ValueError(f"The threshold of the scores must be in [0, 1]. Received: {threshold}")
    if num_classes is not None and len(values) not in (1, num_classes):
        raise ValueError(
            f"The threshold of the scores must be one number, or one for each of {num_classes} classes. "
            f"Received: {threshold}"
        )


def thresholds_of(threshold: float | Sequence[float], num_classes: int) -> torch.Tensor:
    """The threshold of each class, float32 [K].

    Raises:
        ValueError: numbers that are no thresholds, or not so many.
    """
    check_threshold(threshold, num_classes)
    return torch.tensor(threshold, dtype=torch.float32).expand(num_classes)


def best_classes(
    scores: torch.Tensor, threshold: float | Sequence[float], at_least: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of proposals with scores [..., 1 + K], channel 0 of which is "no object": the best class, and if it counts.

    Args:
        scores: of each channel.
        threshold: for all classes, or for each.
        at_least: whether a score equal to the threshold counts.

    Returns:
        bool, float and int64 [...]: whether it counts, its score and its class, from 0 on.
    """
    best, classes = scores[..., 1:].max(dim=-1)
    limits = thresholds_of(threshold, scores.shape[-1] - 1)[classes]
    return best >= limits if at_least else best > limits, best, classes


def check_finite(name: str, values: torch.Tensor | None) -> None:
    """Refuse NaN and infinity, which would otherwise end as "0 objects". `values` is [T, ...]."""
    if values is None or torch.isfinite(values).all():
        return
    bad = ~torch.isfinite(values).flatten(1).all(dim=1)
    raise ValueError(
        f"The model's {name} must be finite. Received: NaN or infinity in {int(bad.sum())} of {len(bad)} tiles. The "
        "weights are broken (diverged training, a damaged file), or half precision overflowed: try float32."
    )


def merge_tiles(
    layout: TileLayout,
    logits: torch.Tensor | None,
    pred_points: torch.Tensor | None,
    density_map: torch.Tensor | None,
    threshold: float | Sequence[float] | None = 0.35,
    return_density_map: bool | None = False,
) -> ObjectCount:
    """Put the outputs for all tiles of one image together.

    Args:
        layout: where the T tiles lie.
        logits: [T, Q, K + 1], or `None` for a model without the regression branch.
        pred_points: [T, Q, >= 2] (x, y, ...) as fractions of the tile; given together with `logits`.
        density_map: [T, K, g, g], or `None` for a model without the density branch.
        threshold: the least score that counts, of all classes or of each; `None`: as many points as the density says.
        return_density_map: whether the map of the whole image is wanted; `None`: if there is one.

    Raises:
        ValueError: a threshold outside [0, 1]; outputs that are not finite, not of `len(layout)` tiles, or all absent;
            a map wanted, or points by density, of a model that has none.
    """
    merger = TileMerger(layout, threshold, keep_maps=return_density_map is not False)
    merger.add(logits, pred_points, density_map)
    return merger.merge(return_density_map)


class TileMerger:
    """Takes the outputs for the tiles of one image, some at a time, and puts them together.

    What was found is kept, not what was looked at: of a mosaic of 20,000 x 20,000 pixels the outputs for all 6,241
    tiles and their copies would be half a gigabyte.

    Args:
        layout: where the T tiles lie.
        threshold: the least score that counts, of all classes or of each; `None`: as many points as the density says.
        keep_maps: whether the density map of the image will be wanted, which are g x g cells a tile.

    Raises:
        ValueError: a threshold outside [0, 1].
    """

    def __init__(self, layout: TileLayout, threshold: float | Sequence[float] | None = 0.35, keep_maps: bool = False):
        if threshold is not None:
            check_threshold(threshold)
        self._layout, self._threshold, self._keep_maps = layout, threshold, keep_maps
        self._tiles = self._crowded = self._num_queries = self._num_classes = 0
        self._given: list[str] = []
        self._found: list[tuple[torch.Tensor, ...]] = []  # points, scores, classes, tiles
        self._densities: list[torch.Tensor] = []  # [t, K]
        self._maps: list[torch.Tensor] = []  # [t, 1, g, g]
        self._density_so_far: torch.Tensor | None = None  # float64 [K], of all tiles before

    def add(
        self, logits: torch.Tensor | None, pred_points: torch.Tensor | None, density_map: torch.Tensor | None
    ) -> None:
        """Take the outputs for the next t tiles, row by row; see `merge_tiles`.

        Raises:
            ValueError: outputs that are not finite, of different numbers of tiles, or too few kinds of them; no map
                for points by density.
        """
        outputs = {"logits": logits, "pred_points": pred_points, "density_map": density_map}
        self._given = [name for name, values in outputs.items() if values is not None]
        if self._given not in (["logits", "pred_points"], ["density_map"], [*outputs]):
            raise ValueError(f"Counting needs logits and pred_points, or a density_map. Received: {self._given}")
        number = len(outputs[self._given[0]])  # ty: ignore[invalid-argument-type]
        for name, values in outputs.items():
            if values is not None and len(values) != number:
                raise ValueError(f"{name} must have one row for each of {number} tiles. Received: {len(values)}")
            check_finite(name, values)
        densities = None
        if density_map is not None:
            density_map = density_map.detach().cpu().float()
            densities = density_of_tiles(density_map, self._layout, self._tiles)
            self._densities.append(densities)
            if self._keep_maps:
                self._maps.append(density_map.sum(dim=1, keepdim=True))
        if logits is not None and pred_points is not None:
            self._add_points(logits.detach().cpu(), pred_points.detach().cpu(), densities)
        self._tiles += number

    def _add_points(self, logits: torch.Tensor, pred_points: torch.Tensor, densities: torch.Tensor | None) -> None:
        num_queries = logits.shape[1]
        self._num_queries, self._num_classes = num_queries, logits.shape[2] - 1
        scores = logits.float().sigmoid()  # [t, Q, K + 1]
        points, owned = self._layout.to_image(pred_points[..., :2].float(), self._tiles)
        if self._threshold is None:
            counts, scores, kinds, crowded = self._by_density(scores, owned, densities)
        else:
            counts, scores, kinds = self._by_threshold(scores, self._threshold)
            crowded = counts.any(dim=-1).sum(dim=-1) >= CROWDED_SHARE * num_queries
        self._crowded += int(crowded.sum())
        chosen = (counts & owned[..., None]).flatten().nonzero()[:, 0]
        query = chosen // scores.shape[-1]
        tiles = query // num_queries + self._tiles
        self._found.append((points.flatten(0, 1)[query], scores.flatten()[chosen], kinds.flatten()[query], tiles))

    def _by_threshold(
        self, scores: torch.Tensor, threshold: float | Sequence[float]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of scores [t, Q, K + 1] which count and what they are, [t, Q, c] of c channels that may; classes [t, Q]."""
        if self._num_classes == 1:
            return scores >= thresholds_of(threshold, 1), scores, torch.zeros(scores.shape[:2], dtype=torch.long)
        counts, best, kinds = best_classes(scores, threshold, at_least=True)
        return counts[..., None], best[..., None], kinds

    def _by_density(
        self, scores: torch.Tensor, owned: torch.Tensor, densities: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """As `_by_threshold` for points by density, each query once; and which tiles have hardly enough queries, [t].

        Sums are rounded, not tiles: a hundred tiles with 0.4 objects each have 40 points.

        Args:
            scores: [t, Q, K + 1]
            owned: [t, Q], which points are the tile's.
            densities: [t, K], or `None` of a model without maps.
        """
        if densities is None:
            raise ValueError("Points by density need a model with a density branch. Received: density_branch=False")
        before = torch.zeros_like(densities[0]) if self._density_so_far is None else self._density_so_far
        sums = torch.cat([before[None], densities]).cumsum(dim=0)
        self._density_so_far = sums[-1].clone()
        wanted = sums.round().long().diff(dim=0)  # [t, K]
        best, kinds = scores[..., 1:].max(dim=-1)
        counts = torch.zeros_like(owned)
        for kind in range(self._num_classes):
            candidates = owned & (kinds == kind)
            order = best.masked_fill(~candidates, -1).sort(dim=1, descending=True, stable=True).indices
            counts |= candidates & (order.argsort(dim=1) < wanted[:, kind, None])
        number = wanted.sum(dim=-1)
        return counts[..., None], best[..., None], kinds, (number > 0) & (number >= CROWDED_SHARE * owned.sum(dim=-1))

    def merge(
        self,
        return_density_map: bool | None = False,
        on_density: Callable[[torch.Tensor], object] | None = None,
    ) -> ObjectCount:
        """The count of the image, once all tiles were taken.

        Args:
            return_density_map: whether the map of the whole image is wanted; `None`: if there is one.
            on_density: called with strips [rows, width] of that map from top to bottom, if there is one. Both need
                `keep_maps`.

        Raises:
            ValueError: fewer or more tiles than the image has, or a map wanted of a model that has none.
        """
        if self._tiles != len(self._layout):
            raise ValueError(f"The image has {len(self._layout)} tiles. Received: outputs of {self._tiles}")
        if return_density_map and not self._densities:
            raise ValueError("A density map needs a model with a density branch. Received: density_branch=False")
        densities = torch.cat(self._densities) if self._densities else None  # [T, K]
        density_count = 0.0 if densities is None else float(densities.sum())
        of_classes = None if densities is None else densities.sum(dim=0).tolist()
        if densities is None or self._found:
            result = self._merge_points(None if densities is None else density_count)
            if self._threshold is None:
                result["by_density"] = True
        else:
            result = ObjectCount(
                count=round(density_count),
                exact_count=density_count,
                has_points=False,
                points=torch.zeros(0, 2),
                scores=torch.zeros(0),
                density_count=density_count,
                tile_counts=densities.sum(dim=1).round().long(),
                crowded_tiles=0,
                classes=torch.zeros(0, dtype=torch.long),
                class_counts=[max(0, round(one)) for one in of_classes or ()],
                class_density_counts=None,
            )
        result["class_density_counts"] = of_classes
        if self._maps:
            density_map = torch.cat(self._maps)
            self._maps.clear()  # of 20,000 x 20,000 pixels they are 100 MB
            if return_density_map is not False:
                result["density_map"] = stitch_density(density_map, self._layout)
            if on_density is not None:
                for strip in density_rows(density_map, self._layout):
                    on_density(strip)
        return result

    def _merge_points(self, density_count: float | None) -> ObjectCount:
        num_tiles = len(self._layout)
        if self._crowded:
            logger.warning(
                f"In {self._crowded} of {num_tiles} tiles of an image of {self._layout.width} x {self._layout.height} "
                f"pixels at least {CROWDED_SHARE:.0%} of the {self._num_queries} queries found an object: the count "
                "is probably too low. Enlarge the image before counting, or use a model with more queries."
            )
        points, scores, classes, tiles = (torch.cat(part) for part in zip(*self._found))
        # stable: points of equal score stay in the order of the tiles, on every machine
        order = scores.sort(descending=True, stable=True).indices[: num_tiles * self._num_queries]
        classes = classes[order]
        return ObjectCount(
            count=len(order),
            exact_count=float(len(order)),
            has_points=True,
            points=points[order],
            scores=scores[order],
            density_count=density_count,
            tile_counts=torch.bincount(tiles[order], minlength=num_tiles),
            crowded_tiles=self._crowded,
            classes=classes,
            class_counts=torch.bincount(classes, minlength=self._num_classes).tolist(),
            class_density_counts=None,
        )


def merge_parts(
    layout: PartLayout,
    rows: Iterable[dict[str, Any]],
    return_density_map: bool | None,
    on_density: Callable[[torch.Tensor], object] | None = None,
) -> ObjectCount:
    """The count of an image from those of its parts. Densities that nobody wants are let go of part by part."""
    wants_density = return_density_map is not False or on_density is not None
    found, sizes, sums_of_parts, densities = [], [], [], []
    num_classes = 1
    for index, row in enumerate(rows):
        found.append(row["found"])
        sizes.append(row["size"])
        num_classes = row["num_classes"]
        if row["density"] is not None:
            owned = [layout.owned(one, index, row["size"]) for one in row["density"]]
            sums_of_parts.append([float(one.double().sum()) for one in owned])
            if wants_density:
                densities.append(owned[0] if len(owned) == 1 else torch.stack(owned).sum(dim=0))
    has_density = bool(sums_of_parts)
    if return_density_map and not has_density:
        raise ValueError("A density map needs a model with a density map. Received: one without")
    of_classes = torch.tensor(sums_of_parts, dtype=torch.float64)
    sums = of_classes.sum(dim=-1)
    number = float(sums.sum())
    density_count = number if has_density else None
    class_density_counts = of_classes.sum(dim=0).tolist() if has_density else None
    has_points = found[0] is not None
    if not has_points:
        parts = sums.round().long().clamp(min=0)
        points, scores, classes = torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, dtype=torch.long)
        class_counts = [max(0, round(one)) for one in class_density_counts or ()]
    else:
        points = torch.cat([layout.to_image(xy, i, sizes[i]) for i, (xy, *_) in enumerate(found)])
        scores = torch.cat([one[1] for one in found])
        kinds = torch.cat([one[2] if len(one) > 2 else torch.zeros(len(one[1])).long() for one in found])
        order = scores.sort(descending=True, stable=True).indices
        points, scores, classes = points[order], scores[order], kinds[order]
        number, parts = float(len(points)), torch.tensor([len(one[1]) for one in found])
        class_counts = torch.bincount(classes, minlength=num_classes).tolist()
    result = ObjectCount(
        count=max(0, round(number)),
        exact_count=number,
        has_points=has_points,
        points=points,
        scores=scores,
        density_count=density_count,
        tile_counts=parts,
        crowded_tiles=0,
        classes=classes,
        class_counts=class_counts,
        class_density_counts=class_density_counts,
    )
    if has_density and return_density_map is not False:
        result["density_map"] = layout.stitch(densities)
    if has_density and on_density is not None:
        for strip in layout.stitched_rows(densities):
            on_density(strip)
    return result


def find_blobs(probabilities: torch.Tensor, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Places [n, 2] (x, y) of blobs as fractions of the sides, and their scores [n].

    A blob is a group of pixels [h, w] above the threshold that touch, at corners, too. Its place is the mean of its
    pixels, its score the largest probability in it.
    """
    values = probabilities.detach().numpy()
    blobs, number = ndimage.label(values > threshold, structure=np.ones((3, 3)))
    if number == 0:
        return torch.zeros(0, 2), torch.zeros(0)
    labels = np.arange(1, number + 1)
    centers = np.array(ndimage.center_of_mass(blobs > 0, blobs, labels))[:, ::-1] + 0.5
    scores = np.asarray(ndimage.maximum(values, blobs, labels), dtype=np.float32)
    points = torch.from_numpy(centers / np.array(values.shape[::-1])).float()
    return points, torch.from_numpy(scores)
