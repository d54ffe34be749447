"""Which class is largest at each pixel of a frame, without enlarging the classes that cannot be.

Enlarging 124 classes to 1080 x 1920 and comparing them takes longer than the network that gave them. Bilinear numbers
lie between those they are made of, so within a block of cells a class whose largest number is below the smallest of
another one loses everywhere. Most blocks keep one class and need no arithmetic, the others are enlarged for their own
classes. Where two classes are so close that rounding decides, the plain computation does, so the labels are the same.

K classes, h x w cells of the logits, H x W pixels.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 8  # cells; 4 takes about as long
CLASSES_AT_ONCE = 16  # all 124 at 1080 x 1920 are 1 GB
# What two classes may differ by where rounding decides, in units of the largest number around. Two resizings and the
# two products here round a number at most 18 times by 2^-24, and there are two numbers.
CLOSE = 36 * 2.0**-24
FEW_PIXELS = 128  # maps up to this size on both sides go another way in PyTorch, and take no time
# With one thread PyTorch enlarges maps of three channels another way, which rounds otherwise (2.14, measured).
APART = 3
MOST_SAMPLES = 500  # single pixels; a class at 1080 x 1920 takes as long as 400 of them


class Axis(NamedTuple):
    """What the rows (or columns) of a frame are made of, block by block of the cells.

    Attributes:
        weights: [blocks, longest, patch], of the pixels of each block; the last pixel again where there are fewer.
        pixels: [H], the number of each pixel among the blocks * longest.
        num_cells: h.
    """

    weights: Tensor
    pixels: Tensor
    num_cells: int

    @property
    def patch(self) -> int:
        """Cells that the pixels of a block are made of: those of the block and some of the next one."""
        return self.weights.shape[-1]

    @property
    def padding(self) -> int:
        """How many cells are missing behind the last one for its block to have a whole patch."""
        return (len(self.weights) - 1) * BLOCK + self.patch - self.num_cells


def largest_class(logits: Tensor, steps: Sequence[tuple[int, int]]) -> Tensor:
    """The class that is largest after bilinear enlarging.

    Args:
        logits: [K, h, w].
        steps: sizes (height, width) of resizings one after the other; the last one is that of the labels.

    Returns:
        int64 [H, W]; of equal classes the first.
    """
    logits = logits.float()
    largest = logits.abs().max()
    small = any(max(step) <= FEW_PIXELS for step in steps)
    # a GPU would have to wait for the questions which classes are left (not measured)
    if logits.device.type != "cpu" or not largest.isfinite() or small or len(logits) == APART:
        return largest_of_all(logits, steps)
    rows = _axis(logits.shape[1], [height for height, _ in steps])
    columns = _axis(logits.shape[2], [width for _, width in steps])
    padded = F.pad(logits[None], (0, columns.padding, 0, rows.padding), mode="replicate")[0]
    contest = _contest(padded, rows, columns)
    winners = contest.classes[:, 0, None, None].repeat(1, rows.weights.shape[1], columns.weights.shape[1])
    contested = int((contest.counts > 1).sum())
    winners[:contested], unsure = _compete(contest, contested)
    labels = contest.image(winners)
    if unsure.any():
        flags = torch.zeros(winners.shape, dtype=torch.bool)
        flags[:contested] = unsure
        at = contest.image(flags)
        chosen = _as_good(contest, unsure)
        if len(chosen) == APART:  # the last one twice, so that they are enlarged as all classes are
            chosen = torch.cat([chosen, chosen[-1:]])
        pixels = at.nonzero().tolist()
        if len(pixels) > MOST_SAMPLES:
            labels[at] = chosen[largest_of_all(logits[chosen], steps)[at]]
        else:
            some = Rows(logits[chosen], steps)
            for row, column in pixels:
                labels[row, column] = chosen[some.row(row, len(steps))[:, column].argmax()]
    return labels


def largest_of_all(logits: Tensor, steps: Sequence[tuple[int, int]]) -> Tensor:
    """The plain computation, a few classes at a time."""
    best = torch.full(tuple(steps[-1]), -torch.inf, device=logits.device)
    winner = torch.zeros(tuple(steps[-1]), dtype=torch.int64, device=logits.device)
    at_once = APART  # if these are all; otherwise such that the rest are not so many
    if len(logits) != APART:
        at_once = next(number for number in range(CLASSES_AT_ONCE, APART, -1) if len(logits) % number != APART)
    for first in range(0, len(logits), at_once):
        scores = logits[None, first : first + at_once]
        for step in steps:  # one that changes nothing costs nothing
            scores = F.interpolate(scores, size=step, mode="bilinear")
        highest, index = scores[0].max(dim=0)
        winner = torch.where(highest > best, index + first, winner)
        best = torch.maximum(best, highest)
    return winner


def _axis(num_cells: int, sizes: Sequence[int]) -> Axis:
    """Of one side of the logits and of the resizings."""
    weights = torch.eye(num_cells)[None, None]
    for size in sizes:  # by the very function whose numbers these weights shall give
        weights = F.interpolate(weights, size=(size, num_cells), mode="bilinear")
    weights = weights[0, 0]
    used = weights != 0
    first = used.int().argmax(dim=1)
    span = num_cells - used.flip(1).int().argmax(dim=1) - first
    patch = BLOCK - 1 + int(span.max())
    num_blocks = int(first[-1]) // BLOCK + 1
    weights = F.pad(weights, (0, num_blocks * BLOCK + patch - num_cells))
    starts = torch.searchsorted(first, torch.arange(num_blocks + 1) * BLOCK)
    lengths = starts.diff()
    longest = int(lengths.max())
    pixels = starts[:-1, None] + torch.minimum(torch.arange(longest), (lengths - 1).clamp(min=0)[:, None])
    cells = torch.arange(num_blocks)[:, None] * BLOCK + torch.arange(patch)
    of_block = weights[pixels.clamp(max=len(weights) - 1)[:, :, None], cells[:, None]]
    block = first // BLOCK
    return Axis(of_block, block * longest + torch.arange(len(first)) - starts[block], num_cells)


class Contest(NamedTuple):
    """Blocks, those with most classes first, and the classes that may be largest somewhere in each.

    Attributes:
        rows, columns: of the frame.
        patches: [K, blocks of rows, blocks of columns, patch, patch], a view of the logits.
        blocks: [n], their numbers, row by row.
        classes: [n, most], ascending; only the first `counts` of them count.
        counts: [n].
        close: [n], what rounding may make of a difference there.
    """

    rows: Axis
    columns: Axis
    patches: Tensor
    blocks: Tensor
    classes: Tensor
    counts: Tensor
    close: Tensor

    def scores(self, rank: int, number: int) -> Tensor:
        """Of the class of that rank [number, height, width] in the first blocks."""
        row, column = (
            self.blocks[:number] // len(self.columns.weights),
            self.blocks[:number] % len(self.columns.weights),
        )
        cells = self.patches[self.classes[:number, rank], row, column]
        return self.rows.weights[row] @ cells @ self.columns.weights[column].mT

    def image(self, values: Tensor) -> Tensor:
        """[n, height, width] -> [H, W]."""
        ordered = torch.empty_like(values)
        ordered[self.blocks] = values
        grid = ordered.unflatten(0, (len(self.rows.weights), len(self.columns.weights))).transpose(1, 2)
        return grid.flatten(0, 1).flatten(1)[self.rows.pixels][:, self.columns.pixels]


def _contest(padded: Tensor, rows: Axis, columns: Axis) -> Contest:
    patch = (rows.patch, columns.patch)
    highest = F.max_pool2d(padded, patch, stride=BLOCK).flatten(1)
    lowest = -F.max_pool2d(-padded, patch, stride=BLOCK).flatten(1)
    close = torch.maximum(highest.abs(), lowest.abs()).amax(dim=0) * CLOSE
    contends = (highest >= lowest.amax(dim=0) - close).T
    counts, blocks = contends.sum(dim=1).sort(descending=True)
    classes = contends[blocks].byte().argsort(dim=1, descending=True, stable=True)[:, : int(counts[0])]
    patches = padded.unfold(1, rows.patch, BLOCK).unfold(2, columns.patch, BLOCK)
    return Contest(rows, columns, patches, blocks, classes, counts, close[blocks])


def _compete(contest: Contest, number: int) -> tuple[Tensor, Tensor]:
    """The class of each pixel [number, height, width] of the first blocks, and whether another is as good as it."""
    best = torch.full((number, contest.rows.weights.shape[1], contest.columns.weights.shape[1]), -torch.inf)
    second, winner = best.clone(), torch.zeros(best.shape, dtype=torch.int64)
    for rank in range(contest.classes.shape[1] if number else 0):
        n = int((contest.counts[:number] > rank).sum())
        scores = contest.scores(rank, n)
        second[:n] = torch.maximum(second[:n], torch.minimum(best[:n], scores))
        winner[:n] = torch.where(scores > best[:n], contest.classes[:n, rank, None, None], winner[:n])
        best[:n] = torch.maximum(best[:n], scores)
    return winner, best - second <= contest.close[:number, None, None]


def _as_good(contest: Contest, unsure: Tensor) -> Tensor:
    """The classes, ascending, that are as good as the best one at pixels [number, height, width]."""
    some = unsure.any(dim=(1, 2)).nonzero()[:, 0]
    few = contest._replace(
        blocks=contest.blocks[some],
        classes=contest.classes[some],
        counts=contest.counts[some],
        close=contest.close[some],
    )
    ranks = range(int(few.counts[0]))
    numbers = [int((few.counts > rank).sum()) for rank in ranks]
    best = torch.full((len(some), *unsure.shape[1:]), -torch.inf)
    for rank, n in zip(ranks, numbers):
        best[:n] = torch.maximum(best[:n], few.scores(rank, n))
    # twice: as close to the best one as another one is that is as close to it
    least = torch.where(unsure[some], best - 2 * few.close[:, None, None], torch.inf)
    good = [
        few.classes[:n, rank][(few.scores(rank, n) >= least[:n]).any(dim=(1, 2))] for rank, n in zip(ranks, numbers)
    ]
    return torch.cat(good).unique()


class Rows:
    """What `F.interpolate` gives in single rows, bit for bit, without the others.

    A row is made of two rows before it, by a share that is read off an interpolated identity matrix. The same function
    is asked for the same share of the same rows. Where a float cannot say the share, it enlarges the whole map; so it
    does for rows of few pixels, as it goes another way for small maps (measured: up to 128 x 128).

    Args:
        maps: [K, h, w].
        steps: as of `largest_class`.
    """

    def __init__(self, maps: Tensor, steps: Sequence[tuple[int, int]]):
        self.maps = maps
        self.steps = steps
        heights = [maps.shape[1], *(height for height, _ in steps)]
        self.taps = [self._taps(*sides) for sides in pairwise(heights)]
        self.row = cache(self._row)

    @staticmethod
    def _taps(before: int, after: int) -> tuple[list[int], list[float], list[bool]]:
        """First row and share of the second one of each row, and whether that share can be asked for."""
        identity = F.interpolate(torch.eye(before)[None, None], size=(after, before), mode="bilinear")[0, 0]
        weights = F.pad(identity, (0, 1))
        first = (weights != 0).int().argmax(dim=1)
        share = weights.gather(1, first[:, None] + 1)[:, 0]
        # a row that is made of the last one alone may be made of it twice, by any share
        known = ((2 * share + 1 - 1) / 2 == share) & ((first < before - 1) | (before == after))
        return first.tolist(), share.tolist(), known.tolist()

    def _row(self, number: int, step: int) -> Tensor:
        """[K, width] after so many steps."""
        if not step:
            return self.maps[:, number]
        first, share, known = self.taps[step - 1]
        width = self.steps[step - 1][1]
        if not known[number] or width <= FEW_PIXELS:
            return self._whole(step)[:, number]
        top = first[number]
        last = (self.steps[step - 2][0] if step > 1 else self.maps.shape[1]) - 1
        pair = [self.row(top, step - 1), self.row(min(top + 1, last), step - 1)]
        # the first row of a map of which one is 2 s + 1 before lies at s
        factor = 1 / (2 * share[number] + 1)
        pairs = torch.stack(pair, dim=1)[None]
        return torch.ops.aten.upsample_bilinear2d(pairs, [1, width], False, factor, None)[0, :, 0]

    def _whole(self, step: int) -> Tensor:
        maps = self.maps[None]
        for size in self.steps[:step]:
            maps = F.interpolate(maps, size=size, mode="bilinear")
        return maps[0]
