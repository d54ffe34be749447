"""The table of docs/tour.md leads to functions that exist and say that they are the equation."""

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
# the numbered equations of the thesis, chapter by chapter
LAST = {2: 4, 3: 10, 4: 7, 5: 12}
NOT_CODE = {"4.6"}
ROWS = re.findall(r"^\| (\d\.\d+) \| [^|]+ \| (?:`([^`:]+):([^`]+)`|[^|`]+) \|$", TOUR, flags=re.MULTILINE)


def docstrings(path: Path, name: str) -> str:
    """Those of a class, function or method ("Class.method"), of what it stands in, and of the module."""
    node: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    texts = [ast.get_docstring(node)]
    for part in name.split("."):
        (node,) = [child for child in node.body if getattr(child, "name", None) == part]
        texts.append(ast.get_docstring(node))
    return "\n".join(text for text in texts if text)


def named_equations(text: str) -> set[str]:
    """ "Eq. 3.2-3.4 and 3.6" -> 3.2, 3.3, 3.4, 3.6."""
    found = set()
    for listed in re.findall(r"Eq\. ((?:\d\.\d+(?:-|, | and )?)+)", text):
        for first, last in re.findall(r"(\d\.\d+)(?:-(\d\.\d+))?", listed):
            chapter, start = first.split(".")
            end = (last or first).split(".")[1]
            found |= {f"{chapter}.{number}" for number in range(int(start), int(end) + 1)}
    return found


def test_every_equation_is_in_the_table():
    assert {number for number, _, _ in ROWS} == {
        f"{chapter}.{number}" for chapter, last in LAST.items() for number in range(1, last + 1)
    }
    assert {number for number, path, _ in ROWS if not path} == NOT_CODE


@pytest.mark.parametrize(
    ("number", "path", "name"), [row for row in ROWS if row[1]], ids=lambda value: value.split("/")[-1]
)
def test_it_leads_to_code_that_names_the_equation(number, path, name):
    text = docstrings(ROOT / "src" / "dense_hf" / path, name)
    assert number in named_equations(text)


def test_how_equations_are_read():
    assert named_equations("(Eq. 3.2-3.4, and section 3.3.2)") == {"3.2", "3.3", "3.4"}
    assert named_equations("section 3.3, Eq. 3.1, 3.5, 3.9 and 3.10).") == {"3.1", "3.5", "3.9", "3.10"}
    assert named_equations("section 4.5 and table 4.6") == set()


def test_other_paths_of_the_tour_exist():
    for link in re.findall(r"\]\(([^)#]+)\)", TOUR):
        assert (ROOT / "docs" / link).exists(), link
    prose = TOUR.split("## From the equations")[0]
    files = {path.name for path in (ROOT / "src").rglob("*.py")}
    for path in re.findall(r"`([\w./]+\.py)`", prose):
        assert (ROOT / path).exists() if "/" in path else path in files, path


def test_the_picture_is_a_picture():
    root = ElementTree.parse(ROOT / "docs" / "images" / "tour.svg").getroot()
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for element in root.iter("{http://www.w3.org/2000/svg}rect"):
        right = float(element.get("x", 0)) + float(element.attrib["width"])
        bottom = float(element.get("y", 0)) + float(element.attrib["height"])
        assert right <= width
        assert bottom <= height
