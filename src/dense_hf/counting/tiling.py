"""Where the tiles of an image lie, which tile owns which point, and how their outputs are put together.

Thesis section 2.5.1 and the test code behind the published numbers. The released layout is `overlap = 0`: the image
is padded at the LEFT and TOP to multiples of the tile and cut row by row. With `overlap > 0` neighbours share that
many pixels, and the line in the middle of what they share says who owns a point: it is counted once, by the tile that
sees more around it.

Everything here is a function of (image size, tile size, overlap): no other state travels from cutting to merging.

The other counters of Table 2.3 see whole images, or few large parts of one (`PartLayout`).

Shape letters: T tiles of one image, in row-major order; Q queries; n points; g cells of the density map of one tile;
S tile size. Coordinates are pixels of the image, (x right, y down), pixel `i` covers [i, i + 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from .picture_values import MAX_PIXELS

if TYPE_CHECKING:
    from .rgb_reading import WindowedPixels

with suppress(ImportError):  # exported models lay their tiles without it (`export.runtime`)
    import torch


@dataclass(frozen=True)
class TileSpan:
    """One tile along one axis, in pixels of the image: it sees [start, start + S) and owns [core_start, core_stop).

    `start` is negative where the tile begins in the padding.
    """

    start: int
    core_start: int
    core_stop: int


def tile_spans(length: int, tile_size: int, overlap: int = 0) -> tuple[TileSpan, ...]:
    """Lay tiles along an axis of `length` pixels. The last tile ends where the image ends, padding is in front.

    The cores cover [0, length) without gap and without sharing a pixel, and no tile is without an own pixel.

    Raises:
        ValueError: an empty axis, a tile without pixels, or an overlap that is not in [0, tile_size).
    """
    if length < 1 or tile_size < 1:
        raise ValueError(f"An image and a tile need at least one pixel. Received: {length=}, {tile_size=}")
    if not 0 <= overlap < tile_size:
        raise ValueError(f"The overlap must be at least 0 and less than the tile. Received: {overlap=}, {tile_size=}")
    stride = tile_size - overlap
    num_tiles = max(0, math.ceil((length - tile_size) / stride)) + 1
    starts = [length - tile_size - stride * i for i in reversed(range(num_tiles))]
    borders = [0, *(start + overlap // 2 for start in starts[1:]), length]
    return tuple(TileSpan(start, *core) for start, core in zip(starts, pairwise(borders)))


@dataclass(frozen=True)
class TileLayout:
    """The tiles of one image of `height` x `width` pixels.

    Example:

    ```python
    >>> layout = TileLayout(height=1080, width=1920)
    >>> layout.num_rows, layout.num_columns, len(layout)
    (5, 8, 40)
    >>> layout[0]  # the row span and the column span of the first tile, which starts in the padding
    (TileSpan(start=-200, core_start=0, core_stop=56), TileSpan(start=-128, core_start=0, core_stop=128))
    ```
    """

    height: int
    width: int
    tile_size: int = 256
    overlap: int = 0

    @cached_property
    def rows(self) -> tuple[TileSpan, ...]:
        """Spans from top to bottom."""
        return tile_spans(self.height, self.tile_size, self.overlap)

    @cached_property
    def columns(self) -> tuple[TileSpan, ...]:
        """Spans from left to right."""
        return tile_spans(self.width, self.tile_size, self.overlap)

    @property
    def num_rows(self) -> int:
        """How many tiles lie below each other."""
        return len(self.rows)

    @property
    def num_columns(self) -> int:
        """How many tiles lie beside each other."""
        return len(self.columns)

    def __len__(self) -> int:
        return self.num_rows * self.num_columns

    def __getitem__(self, index: int) -> tuple[TileSpan, TileSpan]:
        if not 0 <= index < len(self):
            raise IndexError(f"This layout has {len(self)} tiles. Received: {index}")
        row, column = divmod(index, self.num_columns)
        return self.rows[row], self.columns[column]

    def _axis(self, values_of_rows: list[float], values_of_columns: list[float]) -> torch.Tensor:
        """Pair a number of each column with a number of each row -> float64 [T, 2] (x, y)."""
        x = torch.tensor(values_of_columns, dtype=torch.float64)
        y = torch.tensor(values_of_rows, dtype=torch.float64)
        return torch.cartesian_prod(y, x).flip(1)

    def to_image(self, points: torch.Tensor, first: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """From fractions of the tile to pixels of the image.

        Args:
            points: [T, Q, 2] (x, y) in [0, 1], of all tiles or of some that follow each other.
            first: the tile that the points begin with.

        Returns:
            Points [T, Q, 2] (x, y), float32, and whether their tile owns them [T, Q]. A point in the padding counts in
            the released code; here it counts, too, and is moved to the nearest place inside the image, [0, width) and
            [0, height), because that is where a user can look for it.
        """
        tiles = slice(first, first + len(points))
        starts = self._axis([s.start for s in self.rows], [s.start for s in self.columns])[tiles, None]
        # float64 until the end: the owner of a point must not depend on how far from the corner its tile is
        points = (points.to(starts) * self.tile_size).add_(starts)
        if self.overlap:
            # outermost cores own the padding in front and the far edge (a saturated sigmoid is exactly 1)
            inner = [s.core_start for s in self.rows[1:]], [s.core_start for s in self.columns[1:]]
            low = self._axis([-math.inf, *inner[0]], [-math.inf, *inner[1]])[tiles, None]
            high = self._axis([*inner[0], math.inf], [*inner[1], math.inf])[tiles, None]
            owned = ((points >= low) & (points < high)).all(dim=-1)
        else:
            owned = torch.ones(points.shape[:2], dtype=torch.bool)
        limits = torch.tensor([self.width, self.height], dtype=torch.float32)
        inside = torch.nextafter(limits, torch.zeros(2))
        return points.float().clamp(min=torch.zeros(2), max=inside), owned

    def owned_cells(self, grid: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Which cells of the density maps belong to the cores, by the centre of the cell.

        Args:
            grid: height and width g of the map of one tile.

        Returns:
            bool [rows, g_h] and [columns, g_w]; a cell is owned if both its row and its column are. Without overlap
            all are, the padding included, as in the released code.
        """
        masks = []
        for spans, cells in zip((self.rows, self.columns), grid):
            centres = (torch.arange(cells, dtype=torch.float64) + 0.5) * self.tile_size / cells
            starts, low, high = (
                torch.tensor([(s.start, s.core_start, s.core_stop) for s in spans]).double().T[..., None]
            )
            low[0], high[-1] = -math.inf, math.inf  # outermost cores own the padding in front and the far edge
            masks.append((centres + starts >= low) & (centres + starts < high))
        return masks[0], masks[1]


def cut_tiles(image: torch.Tensor | WindowedPixels, layout: TileLayout, first: int, last: int) -> list[torch.Tensor]:
    """Views of what the tiles first..last-1 see of the image [C, height, width]; each [C, <= S, <= S].

    A view is smaller than the tile where the tile lies in the padding; it belongs to the bottom right corner of it.
    """
    views = []
    for index in range(first, last):
        row, column = layout[index]
        views.append(
            image[
                :,
                max(0, row.start) : row.start + layout.tile_size,
                max(0, column.start) : column.start + layout.tile_size,
            ]
        )
    return views


def density_of_tiles(density_map: torch.Tensor, layout: TileLayout, first: int = 0) -> torch.Tensor:
    """The density count of each tile: sum over the cells that it owns. [T, K, g, g] -> [T, K], float64.

    The maps are of all tiles, or of some that follow each other from `first` on.
    """
    masks = layout.owned_cells((density_map.shape[-2], density_map.shape[-1]))
    tiles = torch.arange(first, first + len(density_map))
    rows, columns = masks[0][tiles // layout.num_columns], masks[1][tiles % layout.num_columns]
    return torch.einsum("tkij,ti,tj->tk", density_map.double(), rows.double(), columns.double())


def stitch_density(density_map: torch.Tensor, layout: TileLayout) -> torch.Tensor:
    """One map of the whole image from the maps of its tiles, [T, 1, g, g] -> float32 [height, width].

    Each owned cell is spread evenly over the pixels nearest to it; a cell in the padding goes to the pixels at the
    edge, like the points there. So the sum over the map is the density count, and the sum over any region of the
    image is the number of objects in that region.
    """
    return next(density_rows(density_map, layout, layout.height))


def density_rows(density_map: torch.Tensor, layout: TileLayout, rows: int = 64) -> Iterator[torch.Tensor]:
    """The map of `stitch_density` from top to bottom, `rows` at a time: of a mosaic, all of it is gigabytes."""
    masks = layout.owned_cells((density_map.shape[-2], density_map.shape[-1]))
    maps = density_map[:, 0].float().unflatten(0, (layout.num_rows, layout.num_columns))  # [rows, columns, g, g]
    cells = maps.permute(0, 2, 1, 3)[masks[0]][:, masks[1]]  # [owned rows, owned columns]
    cell_of = []  # [height] and [width]
    for dim, (spans, mask, length) in enumerate(
        ((layout.rows, masks[0], layout.height), (layout.columns, masks[1], layout.width))
    ):
        offsets = (torch.arange(mask.shape[1], dtype=torch.float64) + 0.5) * layout.tile_size / mask.shape[1]
        starts = torch.tensor([span.start for span in spans], dtype=torch.float64)
        centres = (starts[:, None] + offsets)[mask]  # increasing: cores do not overlap
        pixels = torch.arange(length, dtype=torch.float64) + 0.5
        nearest = torch.bucketize(pixels, (centres[1:] + centres[:-1]) / 2)  # cell of each pixel
        target = nearest[centres.long().clamp(0, length - 1)]  # differs from the cell itself where it has no pixel
        has_pixels = torch.bincount(nearest, minlength=len(centres))
        target = torch.where(has_pixels > 0, torch.arange(len(centres)), target)
        cells = torch.zeros_like(cells).index_add_(dim, target, cells)
        cells = cells * (1.0 / has_pixels.clamp(min=1)).to(cells).unsqueeze(1 - dim)
        cell_of.append(nearest)
    for first in range(0, layout.height, rows):
        yield cells.index_select(0, cell_of[0][first : first + rows]).index_select(1, cell_of[1])


PIXELS_AT_ONCE = 2**20
PART_SETTINGS = (
    "size_divisor",
    "resize_to_multiple",
    "min_short_side",
    "max_short_side",
    "parts_per_side",
    "max_part_side",
)


def parts_at_once(batch_size: int, height: int, width: int) -> int:
    """How many parts of a size go through a model in one pass: as many as asked for, but of large ones fewer.

    A tiny network took a gigabyte more for eight parts of 1024 x 1024 pixels than for one, and longer (a trial on a
    CPU, not kept).
    """
    return min(batch_size, max(1, PIXELS_AT_ONCE // (height * width)))


@dataclass(frozen=True)
class PartLayout:
    """The parts that an image of `height` x `width` pixels is counted in. The fields after these are settings.

    Most methods see whole images. The released test of CAN adds up four quarters, that of MAN parts of large images;
    some want sides that are multiples of something, or a shorter side within limits.
    """

    height: int
    width: int
    size_divisor: int = 1
    resize_to_multiple: bool = False
    min_short_side: int | None = None
    max_short_side: int | None = None
    parts_per_side: int = 1
    max_part_side: int | None = None

    @cached_property
    def resized(self) -> tuple[int, int]:
        """Height and width after resizing.

        Raises:
            ValueError: a strip so narrow that it would become a picture of more than `MAX_PIXELS`.
        """
        short = min(self.height, self.width)
        wanted = max(short, self.min_short_side or 1)
        wanted = min(wanted, self.max_short_side or wanted)
        sides = [round(side * wanted / short) for side in (self.height, self.width)]
        if self.height * self.width < sides[0] * sides[1] > MAX_PIXELS:
            raise ValueError(
                f"A picture enlarged to a shorter side of {wanted} must have at most {MAX_PIXELS:,} pixels. "
                f"Received: {self.width} x {self.height}, which becomes {sides[1]} x {sides[0]}"
            )
        if self.resize_to_multiple:
            sides = [max(1, side // self.size_divisor) * self.size_divisor for side in sides]
        return sides[0], sides[1]

    @cached_property
    def boxes(self) -> list[tuple[int, int, int, int]]:
        """Top, left, height and width of each part, row by row, in pixels of the resized image."""
        edges = []
        for side in self.resized:
            number = 1 if self.max_part_side is None else math.ceil(side / self.max_part_side)
            number = min(max(number, self.parts_per_side), side)
            edges.append([i * side // number for i in range(number + 1)])
        rows, columns = edges
        return [
            (top, left, bottom - top, right - left)
            for top, bottom in pairwise(rows)
            for left, right in pairwise(columns)
        ]

    def __len__(self) -> int:
        return len(self.boxes)

    def padded(self, part: int) -> tuple[int, int]:
        """Height and width of a part as the model sees it, with padding at the bottom and the right."""
        return self._up(self.boxes[part][2]), self._up(self.boxes[part][3])

    def _up(self, side: int) -> int:
        return math.ceil(side / self.size_divisor) * self.size_divisor

    def to_image(self, points: torch.Tensor, part: int, size: Sequence[int]) -> torch.Tensor:
        """Points [n, 2] (x, y), fractions of an input of `size` (height, width), in pixels of the image.

        A point in the padding counts, as released, and is moved to the nearest place inside the image.
        """
        top, left = self.boxes[part][:2]
        inside = points.double() * torch.tensor([size[1], size[0]]) + torch.tensor([left, top])
        scale = torch.tensor([self.width / self.resized[1], self.height / self.resized[0]], dtype=torch.float64)
        limits = torch.tensor([self.width, self.height], dtype=torch.float32)
        return (inside * scale).float().clamp(min=torch.zeros(2), max=torch.nextafter(limits, torch.zeros(2)))

    def owned(self, density: torch.Tensor, part: int, size: Sequence[int]) -> torch.Tensor:
        """The cells of a map [h, w] of an input of `size` that are the part's, not of what a batch was padded with."""
        cells = [
            min(count, math.ceil(side * count / whole))
            for count, side, whole in zip(density.shape, self.padded(part), size)
        ]
        return density[: cells[0], : cells[1]]

    def stitch(self, densities: list[torch.Tensor]) -> torch.Tensor:
        """One map [height, width] of the owned maps of all parts; the sum is that of the parts.

        A cell is spread evenly over the pixels nearest to it; one in the padding goes to those at the edge.
        """
        return next(self.stitched_rows(densities, self.height))

    def stitched_rows(self, densities: list[torch.Tensor], rows: int = 256) -> Iterator[torch.Tensor]:
        """The map of `stitch` from top to bottom, `rows` at a time."""
        parts = []
        for part, density in enumerate(densities):
            top, left, height, width = self.boxes[part]
            spread, spans = [], []
            for start, length, padded, cells, resized, side in zip(
                (top, left), (height, width), self.padded(part), density.shape, self.resized, (self.height, self.width)
            ):
                first, last = round(start * side / resized), round((start + length) * side / resized)
                last = max(last, min(first + 1, side))
                first = min(first, last - 1)
                spans.append((first, last))
                spread.append((cells, last - first, padded * side / resized))
            parts.append((*spans, *spread, density.float()))
        for begin in range(0, self.height, rows):
            strip = torch.zeros(min(rows, self.height - begin), self.width)
            for (top, bottom), (left, right), down, across, density in parts:
                first, last = max(top, begin), min(bottom, begin + len(strip))
                if first < last:
                    shares = _spread(*down)[first - top : last - top]
                    strip[first - begin : last - begin, left:right] += shares @ density @ _spread(*across).T
            yield strip


def _spread(cells: int, pixels: int, extent: float) -> torch.Tensor:
    """[pixels, cells], how much of a cell a pixel gets; the cells cover `extent` pixels, the first of which exist."""
    of_pixel = ((torch.arange(pixels) + 0.5) * cells / extent).long().clamp(max=cells - 1)
    number = torch.bincount(of_pixel, minlength=cells)
    middle = ((torch.arange(cells) + 0.5) * extent / cells).long().clamp(max=pixels - 1)
    target = torch.where(number > 0, torch.arange(cells), of_pixel[middle])
    return (of_pixel[:, None] == target).float() / number[target]
