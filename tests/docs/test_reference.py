"""The API reference names all that is public, and Markdown of docstrings becomes reStructuredText.

`make docs` builds the pages, with warnings as errors; it takes too long for a test.
"""

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dense_hf
from dense_hf import data, metrics, visualization, weak_segmentation

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parents[2]
PAGES = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
NAMED = set(re.findall(r"^\.\. auto(?:class|function|data):: dense_hf\.([\w.]+)$", PAGES, flags=re.MULTILINE))
MODULES = {"__version__", "data", "metrics", "visualization", "weak_segmentation"}


@pytest.mark.parametrize("module", [data, metrics, visualization, weak_segmentation], ids=lambda m: m.__name__)
def test_public_names_of_a_module(module):
    prefix = module.__name__.removeprefix("dense_hf.")
    missing = [name for name in module.__all__ if f"{prefix}.{name}" not in NAMED and name not in NAMED]
    assert missing == [], "they need a line in docs/api/"


def test_public_names_of_the_package():
    missing = sorted(set(dense_hf.__all__) - MODULES - NAMED)
    assert missing == [], "they need a line in docs/api/"


def test_nothing_else_is_named():
    for name in NAMED:
        *modules, last = name.split(".")
        assert hasattr(import_module(".".join(["dense_hf", *modules])), last)


@pytest.fixture
def to_rst(monkeypatch):
    """Of the extension."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    pytest.importorskip("sphinx")
    yield lambda text: "\n".join(import_module("markdown_docstrings").to_rst(text.split("\n")))
    sys.modules.pop("markdown_docstrings", None)


@pytest.mark.parametrize(
    ("markdown", "rst"),
    [
        ("Of `x` and [`Name`].", "Of ``x`` and ``Name``."),
        ("a * b and |c|, *really*, `a * b`", r"a \* b and \|c\|, *really*, ``a * b``"),
        ("(2 `sxy`^2)", r"(2 ``sxy``\ ^2)"),
        ("text\n- one\n- two", "text\n\n- one\n- two"),
        ("```python\nf(`x`)\n```", "\n.. code-block:: python\n\n    f(`x`)\n"),
        (
            "| a | `b` |\n|---|---|\n| 1 | 2 |\nafter",
            "\n.. list-table::\n   :header-rows: 1\n\n   * - a\n     - ``b``\n   * - 1\n     - 2\n\nafter",
        ),
    ],
)
def test_docstrings(to_rst, markdown, rst):
    assert to_rst(markdown) == rst
