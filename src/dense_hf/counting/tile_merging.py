"""From the model's outputs for the tiles of one image to its count and points (thesis section 2.5.1).

The score rule is that of the code behind the published numbers, not of the text ("points with a score above 0.35"):
sigmoid of BOTH class channels, flattened over all tiles; the best (tiles x queries) of them; those with at least the
threshold are counted. So one query can count twice, and a point in the padding counts.

Shape letters: T tiles of one image; Q queries; n points; g cells of the density map of one tile.
"""

from typing import TypedDict

import torch
from transformers.utils import logging

from .tiling import TileLayout, density_of_tiles, stitch_density

logger = logging.get_logger(__name__)

# A query finds one object, so a tile where nearly all queries found one probably shows more objects than that.
CROWDED_SHARE = 0.9


class _Count(TypedDict):
    count: int
    exact_count: float
    points: torch.Tensor
    scores: torch.Tensor
    density_count: float | None
    tile_counts: torch.Tensor
    crowded_tiles: int


class ObjectCount(_Count, total=False):
    """What is known about one image.

    - **count** (`int`): The number of objects: number of points, or the rounded density count of a model without the
      regression branch.
    - **exact_count** (`float`): The same before rounding, which is what errors are measured of.
    - **points** (float32 `[n, 2]`): (x, y) in pixels of the image, best score first; in [0, width) and [0, height).
    - **scores** (float32 `[n]`): in [threshold, 1].
    - **density_count** (`float` or `None`): Sum of the density map; `None` for a model without the density branch.
    - **tile_counts** (int64 `[T]`): Objects per tile, row by row. They sum to `count` where points are counted.
    - **crowded_tiles** (`int`): Tiles where at least 90 % of the queries found something: their count may be too low.
    - **density_map** (float32 `[height, width]`, only if asked for): Objects per pixel; it sums to `density_count`.
    """

    density_map: torch.Tensor


def check_threshold(threshold: float) -> None:
    """Refuse what no score can be compared with."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold of the scores must be in [0, 1]. Received: {threshold}")


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
    threshold: float = 0.35,
    return_density_map: bool | None = False,
) -> ObjectCount:
    """Put the outputs for the tiles of one image together.

    Args:
        layout: where the T tiles lie.
        logits: [T, Q, 2], or `None` for a model without the regression branch.
        pred_points: [T, Q, >= 2] (x, y, ...) as fractions of the tile; given together with `logits`.
        density_map: [T, 1, g, g], or `None` for a model without the density branch.
        threshold: the least score that counts.
        return_density_map: whether the map of the whole image is wanted; `None`: if there is one.

    Raises:
        ValueError: a threshold outside [0, 1]; outputs that are not finite, not of `len(layout)` tiles, or all absent;
            a map wanted of a model that has none.
    """
    check_threshold(threshold)
    outputs = {"logits": logits, "pred_points": pred_points, "density_map": density_map}
    for name, values in outputs.items():
        if values is not None and len(values) != len(layout):
            raise ValueError(f"{name} must have one row for each of the {len(layout)} tiles. Received: {len(values)}")
        check_finite(name, values)
    if return_density_map and density_map is None:
        raise ValueError("A density map needs a model with a density branch. Received: density_branch=False")

    densities = None if density_map is None else density_of_tiles(density_map.detach().cpu(), layout)
    density_count = None if densities is None else float(densities.sum())
    if logits is not None and pred_points is not None:
        result = _merge_points(layout, logits.detach().cpu(), pred_points.detach().cpu(), density_count, threshold)
    elif densities is not None and density_count is not None and logits is None and pred_points is None:
        result = ObjectCount(
            count=round(density_count),
            exact_count=density_count,
            points=torch.zeros(0, 2),
            scores=torch.zeros(0),
            density_count=density_count,
            tile_counts=densities.round().long(),
            crowded_tiles=0,
        )
    else:
        given = [name for name, values in outputs.items() if values is not None]
        raise ValueError(f"Counting needs logits and pred_points, or a density_map. Received: {given}")
    if return_density_map is not False and density_map is not None:
        result["density_map"] = stitch_density(density_map.detach().cpu(), layout)
    return result


def _merge_points(
    layout: TileLayout,
    logits: torch.Tensor,
    pred_points: torch.Tensor,
    density_count: float | None,
    threshold: float,
) -> ObjectCount:
    num_tiles, num_queries, num_channels = logits.shape
    scores = logits.float().sigmoid()  # [T, Q, 2]
    found = (scores >= threshold).any(dim=-1).sum(dim=-1)  # [T]
    crowded = int((found >= CROWDED_SHARE * num_queries).sum())
    if crowded:
        logger.warning(
            f"In {crowded} of {num_tiles} tiles of an image of {layout.width} x {layout.height} pixels at least "
            f"{CROWDED_SHARE:.0%} of the {num_queries} queries found an object: the count is probably too low. "
            "Enlarge the image before counting, or use a model with more queries."
        )
    points, owned = layout.to_image(pred_points[..., :2])
    chosen = ((scores >= threshold) & owned[..., None]).flatten().nonzero()[:, 0]
    # stable: points of equal score stay in the order of the tiles, on every machine
    order = scores.flatten()[chosen].sort(descending=True, stable=True).indices[: num_tiles * num_queries]
    chosen = chosen[order]
    query = chosen // num_channels
    return ObjectCount(
        count=len(chosen),
        exact_count=float(len(chosen)),
        points=points.flatten(0, 1)[query],
        scores=scores.flatten()[chosen],
        density_count=density_count,
        tile_counts=torch.bincount(query // num_queries, minlength=num_tiles),
        crowded_tiles=crowded,
    )
