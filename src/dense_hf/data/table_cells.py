"""Cells of the tables that people open in a spreadsheet: no text of ours is a formula there."""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def cell(value: object) -> object:
    """A value of a table. A text that a spreadsheet would take for a formula gets a "'" in front; numbers do not."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def text_of_cell(text: str) -> str:
    """The text that `cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
