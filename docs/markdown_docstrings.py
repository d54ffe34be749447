"""Docstrings are Google style with Markdown inside, as those of transformers; Sphinx wants reStructuredText."""

import re
from collections.abc import Callable, Iterator

from sphinx.application import Sphinx

FENCE = re.compile(r"^\s*```\s*(\w*)\s*$")
SPECIAL = re.compile(r"(?<![\w*])(\*\w(?:[^*\n]*\w)?\*)(?![\w*])|[*|]")  # *emphasis* stays
CODE = re.compile(r"\[?`([^`]+)`\]?")


def to_rst(lines: list[str]) -> list[str]:
    """The same text; fenced blocks, tables, lists and `code` in the other language."""
    return list(_blocks(lines))


def _blocks(lines: list[str]) -> Iterator[str]:
    """Fenced blocks and tables as directives, the rest as prose."""
    prose: list[str] = []
    rest = iter(lines)
    for line in rest:
        if fence := FENCE.match(line):
            yield from _prose(prose)
            indent = line[: len(line) - len(line.lstrip())]
            yield from ("", f"{indent}.. code-block:: {fence[1] or 'text'}", "")
            for inside in rest:
                if FENCE.match(inside):
                    break
                yield f"    {inside}" if inside else ""
            yield ""
        elif line.lstrip().startswith("|"):
            if not (prose and prose[-1].lstrip().startswith("|")):
                yield from _prose(prose)
            prose.append(line)
        else:
            if prose and prose[-1].lstrip().startswith("|"):
                yield from _table(prose)
            prose.append(line)
    yield from _table(prose) if prose and prose[-1].lstrip().startswith("|") else _prose(prose)


def _prose(lines: list[str]) -> Iterator[str]:
    """`code` as ``code``, and what means something in reStructuredText alone escaped."""
    text = "\n".join(lines)
    parts = CODE.split(text)
    parts[::2] = [SPECIAL.sub(lambda match: match[1] or f"\\{match[0]}", part) for part in parts[::2]]
    for index in range(1, len(parts), 2):
        glued = re.match(r"[\w^(]", parts[index + 1])  # an empty escape ends the code before a letter
        parts[index] = f"``{parts[index]}``" + ("\\ " if glued else "")
    lines.clear()
    yield from _spaced("".join(parts).split("\n")) if text else []


def _table(lines: list[str]) -> Iterator[str]:
    """Rows "| a | b |", the second of which is a rule."""
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    rows = [re.split(r"\s*\|\s*", line.strip().strip("|").strip()) for line in lines]
    lines.clear()
    yield from ("", f"{indent}.. list-table::", f"{indent}   :header-rows: 1", "")
    for row in rows[:1] + rows[2:]:
        for number, cell in enumerate(row):
            yield f"{indent}   {'* -' if number == 0 else '  -'} {' '.join(_prose([cell]))}"
    yield ""


def _spaced(lines: list[str]) -> Iterator[str]:
    """A list begins and ends with an empty line."""
    before, in_list = "", False
    for line in lines:
        is_item = re.match(r"\s*(?:- |\d\. )", line) is not None
        if is_item and before.strip() and not in_list:
            yield ""
        if is_item:
            in_list = True
        elif not line.strip():
            in_list = False
        yield line
        before = line


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = to_rst(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Comes before napoleon, which reads "Args:" and the like."""
    handler: Callable = _process
    app.connect("autodoc-process-docstring", handler, priority=100)
    return {"parallel_read_safe": True}
