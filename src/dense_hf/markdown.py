"""Tables, percentages and the spread of several seeds, as all cards, reports and printed statistics have them."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[object], rows: Iterable[Sequence[object]], align: str = "l") -> str:
    """A table in Markdown.

    Args:
        head: names of the columns.
        rows: cells of each row; whole numbers get separators of thousands.
        align: a letter for each column, "l" or "r"; the last one is that of all further columns, too.
    """
    sides = align.ljust(len(head), align[-1])
    rule = "".join("|---:" if side == "r" else "|---" for side in sides[: len(head)]) + "|"
    return "\n".join([_row(head), rule, *map(_row, rows)])


def _row(cells: Sequence[object]) -> str:
    texts = (f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells)
    return "".join(f"| {text} " if text else "| " for text in texts) + "|"


def percent(share: float | None, digits: int = 1) -> str:
    """0.385 as "38.5"; a dash for nothing and for NaN, which stand for what does not occur."""
    return "-" if share is None or share != share else f"{100 * share:.{digits}f}"


def spread(middle: float, lowest: float, highest: float, form: str = ".2f") -> str:
    """ "1.52 (1.40 to 1.61)" of several seeds or runs.

    Args:
        middle: their mean or median.
        lowest, highest: of them.
        form: how each number is written.
    """
    return f"{middle:{form}} ({lowest:{form}} to {highest:{form}})"
