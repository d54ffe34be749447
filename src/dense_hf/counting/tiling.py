"""Where the tiles of an image lie, which tile owns which point, and how their outputs are put together.

Thesis section 2.5.1 and the test code behind the published numbers. The released layout is `overlap = 0`: the image
is padded at the LEFT and TOP to multiples of the tile and cut row by row. With `overlap > 0` neighbours share that
many pixels, and the line in the middle of what they share says who owns a point: it is counted once, by the tile that
sees more around it.

Everything here is a function of (image size, tile size, overlap): no other state travels from cutting to merging.

Shape letters: T tiles of one image, in row-major order; Q queries; n points; g cells of the density map of one tile;
S tile size. Coordinates are pixels of the image, (x right, y down), pixel `i` covers [i, i + 1).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

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

    def to_image(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From fractions of the tile to pixels of the image.

        Args:
            points: [T, Q, 2] (x, y) in [0, 1].

        Returns:
            Points [T, Q, 2] (x, y), float32, and whether their tile owns them [T, Q]. A point in the padding counts in
            the released code; here it counts, too, and is moved to the nearest place inside the image, [0, width) and
            [0, height), because that is where a user can look for it.
        """
        starts = self._axis([s.start for s in self.rows], [s.start for s in self.columns])[:, None]
        # float64 until the end: the owner of a point must not depend on how far from the corner its tile is
        points = points.to(starts) * self.tile_size + starts
        if self.overlap:
            # outermost cores own the padding in front and the far edge (a saturated sigmoid is exactly 1)
            inner = [s.core_start for s in self.rows[1:]], [s.core_start for s in self.columns[1:]]
            first = self._axis([-math.inf, *inner[0]], [-math.inf, *inner[1]])[:, None]
            last = self._axis([*inner[0], math.inf], [*inner[1], math.inf])[:, None]
            owned = ((points >= first) & (points < last)).all(dim=-1)
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
            mask = torch.ones(len(spans), cells, dtype=torch.bool)
            for i, span in enumerate(spans):
                mask[i] &= (centres + span.start >= span.core_start) | (i == 0)
                mask[i] &= (centres + span.start < span.core_stop) | (i == len(spans) - 1)
            masks.append(mask)
        return masks[0], masks[1]


def cut_tiles(image: torch.Tensor, layout: TileLayout, first: int, last: int) -> list[torch.Tensor]:
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


def density_of_tiles(density_map: torch.Tensor, layout: TileLayout) -> torch.Tensor:
    """The density count of each tile: sum over the cells that it owns. [T, 1, g, g] -> [T], float64."""
    rows, columns = layout.owned_cells((density_map.shape[-2], density_map.shape[-1]))
    maps = density_map[:, 0].double().unflatten(0, (layout.num_rows, layout.num_columns))
    return torch.einsum("rcij,ri,cj->rc", maps, rows.double(), columns.double()).flatten()


def stitch_density(density_map: torch.Tensor, layout: TileLayout) -> torch.Tensor:
    """One map of the whole image from the maps of its tiles, [T, 1, g, g] -> float32 [height, width].

    Each owned cell is spread evenly over the pixels nearest to it; a cell in the padding goes to the pixels at the
    edge, like the points there. So the sum over the map is the density count, and the sum over any region of the
    image is the number of objects in that region.
    """
    masks = layout.owned_cells((density_map.shape[-2], density_map.shape[-1]))
    maps = density_map[:, 0].float().unflatten(0, (layout.num_rows, layout.num_columns))  # [rows, columns, g, g]
    cells = maps.permute(0, 2, 1, 3)[masks[0]][:, masks[1]]  # [owned rows, owned columns]
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
        share = 1.0 / has_pixels.clamp(min=1)
        cells = cells * share.to(cells).unsqueeze(1 - dim)
        cells = cells.index_select(dim, nearest)
    return cells
