"""Markdown tables of statistics."""


def table_row(*cells: object) -> str:
    """One row; numbers get separators of thousands."""
    return "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |"
