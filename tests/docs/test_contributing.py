"""CONTRIBUTING.md leads to files and functions that exist, and answers five questions in two lines each."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
QUESTIONS = TEXT.split("## Five questions of a newcomer")[1].split("\n## ")[0].strip().split("\n\n")
PATH = r"`((?:src|scripts|tests|docs|dataset_scripts)/[\w./]+)(?::([\w.]+))?[^`]*`"


def names_in(path: Path) -> set[str]:
    """Functions, classes and constants at the top of a file."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names.add(getattr(node, "name", None))
        names.update(target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name))
    return names


def test_five_questions_have_two_lines_each_and_lead_somewhere():
    words = ("Eq. 4.4", "counting loss", "video method", "data format", "card")
    assert len(QUESTIONS) == len(words)
    for question, word in zip(QUESTIONS, words, strict=True):
        assert word in question.partition("**")[2].partition("?**")[0]
        assert len(question.splitlines()) == 2
        assert re.search(PATH, question)


def test_the_equation_is_where_the_tour_has_it():
    (row,) = re.findall(r"^\| 4\.4 \| .*`(.+)` \|$", (ROOT / "docs" / "tour.md").read_text(), flags=re.MULTILINE)
    assert f"`src/dense_hf/{row}`" in QUESTIONS[0]


@pytest.mark.parametrize(("path", "name"), re.findall(PATH, TEXT))
def test_what_it_names_is_there(path, name):
    assert (ROOT / path).exists()
    if name:
        assert name in names_in(ROOT / path)


def test_the_map_names_every_room_and_no_other():
    block = TEXT.split("## Where things are")[1].split("```")[1]
    package = block.split("src/dense_hf/\n")[1].split("scripts/ ")[0]
    named = set(re.findall(r"(?:^|(?<=\s))([a-z_]+(?:/|\.py))(?=\s)", package))
    rooms = {f"{path.parent.name}/" for path in (ROOT / "src" / "dense_hf").glob("*/__init__.py")}
    assert rooms <= named
    tree = {f"{path.name}/" for path in (ROOT / "src" / "dense_hf").rglob("*") if path.is_dir()}
    assert named <= tree | {path.name for path in (ROOT / "src" / "dense_hf").glob("*.py")}
    for folder in re.findall(r"^([a-z_]+)/ ", block, flags=re.MULTILINE):
        assert (ROOT / folder).is_dir()
