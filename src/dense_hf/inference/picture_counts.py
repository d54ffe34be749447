"""What `dense-hf count` finds out about one picture: its count, regions and areas, and pictures of both."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..counting.tile_merging import ObjectCount
from ..data import write_file
from ..data.geo.pictures import OpenedPicture
from ..data.geo.rasters import RasterPicture
from ..data.images import png_bytes
from ..pipelines.picture_regions import Region, RegionSums, count_regions, strips
from ..visualization import draw_density, draw_points
from .count_tables import CountRow
from .region_files import read_regions

OVERLAY_SIDE = 4096  # of pictures of mosaics


def count_picture(
    name: str,
    picture: OpenedPicture,
    count: Callable[..., ObjectCount],
    region_sources: Sequence[str] = (),
    overlays: Sequence[Path] = (),
    class_names: Sequence[str] = (),
) -> CountRow:
    """Count a picture and what is in its regions.

    Args:
        name: how tables call it.
        picture: the picture.
        count: `count_objects` of an image, which takes `return_density_map` and, for regions and mosaics,
            `on_density`.
        region_sources: see `read_regions`.
        overlays: files of the picture with its points and, if there are two, with its density.
        class_names: of the model, if it has several classes.

    Raises:
        InvalidDataError: a broken file, or regions that do not fit.
        ValueError: outputs of the model that are not finite.
    """
    image = picture.image
    regions = read_regions(region_sources, image.width, image.height, picture.frame)
    by_windows = isinstance(image, RasterPicture)
    sums, small = RegionSums(regions), _SmallDensity(image.width, image.height)
    takers: list[Callable[[torch.Tensor], None]] = [sums.add] if regions else []
    if by_windows and len(overlays) > 1:
        takers.append(small.add)
    options: dict[str, Any] = {"return_density_map": None if overlays and not by_windows else False}
    if takers:
        options["on_density"] = lambda strip: [take(strip) for take in takers]
    result = count(image, **options)
    points, scores = result["points"].numpy(), result["scores"]
    if overlays:
        density: Any = small.map if by_windows else result.get("density_map")
        _write_overlays(overlays, image, result, None if result["density_count"] is None else np.asarray(density))
    found = count_regions(regions, points, sums.sums, result["has_points"])
    area, measured = _measure(picture, regions)
    frame = picture.frame
    return CountRow(
        file=name,
        width=image.width,
        height=image.height,
        count=result["count"],
        density_count=result["density_count"],
        mean_score=float(scores.mean()) if len(scores) else None,
        crowded_tiles=result["crowded_tiles"],
        points=[(x, y, score) for (x, y), score in zip(points.tolist(), scores.tolist())],
        place=None if frame is None else {"crs": frame.crs, "transform": list(frame.transform), "area_m2": area},
        regions=[one | extent for one, extent in zip(found, measured)],
        range_low=result.get("range", (None, None))[0],
        range_high=result.get("range", (None, None))[1],
        level=result.get("level"),
        unlike="; ".join(result.get("unlike", ())) or None,
        class_counts=result["class_counts"] if class_names else [],
        labels=[class_names[number] for number in result["classes"].tolist()] if class_names else [],
    )


def _measure(picture: OpenedPicture, regions: Sequence[Region]) -> tuple[float | None, list[dict[str, Any]]]:
    """Square meters of the picture, and pixels and square meters of each region; of pixels that are seen."""
    areas, image = picture.areas, picture.image
    if areas is None and not regions:
        return None, []
    total, pixels = 0.0, np.zeros(len(regions), np.int64)
    square_meters = np.zeros(len(regions))
    for top, bottom in strips(image.width, image.height):
        seen = picture.seen(top, bottom)
        pixel = 0.0 if areas is None else areas.of_rows(top, bottom)
        total += pixel * ((bottom - top) * image.width if seen is None else int(np.count_nonzero(seen)))
        for index, region in enumerate(regions):
            inside = region.rows(top, bottom, image.width)
            number = int(np.count_nonzero(inside if seen is None else inside & seen))
            pixels[index] += number
            square_meters[index] += pixel * number
    measured = [
        {"pixels": number, "area_m2": None if areas is None else area}
        for number, area in zip(pixels.tolist(), square_meters.tolist())
    ]
    return (None if areas is None else total), measured


class _SmallDensity:
    """The density map of a mosaic at the size of its overlay; the sum is the same."""

    def __init__(self, width: int, height: int):
        self._size, self._top = (height, width), 0
        scale = min(1.0, OVERLAY_SIDE / max(width, height))
        self.map = np.zeros([max(1, round(side * scale)) for side in self._size], np.float32)

    def add(self, strip: torch.Tensor) -> None:
        """Take the next rows [rows, w]."""
        (height, width), (rows, columns) = self._size, self.map.shape
        summed = np.add.reduceat(strip.numpy(), np.arange(columns) * width // columns, axis=1)
        np.add.at(self.map, (self._top + np.arange(len(summed))) * rows // height, summed)
        self._top += len(summed)


def _write_overlays(
    files: Sequence[Path], image: "Image.Image | RasterPicture", result: ObjectCount, density: np.ndarray | None
) -> None:
    """The image with its points and, where there is a density, with that."""
    count, points = result["count"], result["points"].numpy()
    if isinstance(image, RasterPicture):
        shown = image.reduced(OVERLAY_SIDE)
        points = points * np.array([shown.width / image.width, shown.height / image.height], np.float32)
        image = shown
    pictures = [draw_points(image, points, f"{count} object{'' if count == 1 else 's'}")]
    if density is not None:
        pictures.append(draw_density(image, density, f"density: {result['density_count']:.1f}"))
    for file, picture in zip(files, pictures):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, png_bytes(picture))
