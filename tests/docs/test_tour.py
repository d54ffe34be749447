"""docs/tour.md tells the truth: its table leads to functions that say they are the equation, a step takes its way."""

import ast
import re
import sys
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from xml.etree import ElementTree

import pytest

from dense_hf.data import generate_miniature_set, generate_miniature_weak

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
# the numbered equations of the thesis, chapter by chapter
LAST = {2: 4, 3: 10, 4: 7, 5: 12}
NOT_CODE = {"4.6"}
ROWS = re.findall(r"^\| (\d\.\d+) \| [^|]+ \| (?:`([^`:]+):([^`]+)`|[^|`]+) \|$", TOUR, flags=re.MULTILINE)


WAY = TOUR.split("## The way of one training step")[1].split("\n## ")[0]
LISTS = dict(part.split("\n", 1) for part in WAY.split("### ")[1:])
SKIPPED = set(re.findall(r"`([\w/]+\.py)`", LISTS["What you may skip"].split("What happens once")[0]))


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
        known = (ROOT / path).exists() or (ROOT / "src" / "dense_hf" / path).exists()
        assert known if "/" in path else path in files, path


def test_the_picture_is_a_picture():
    root = ElementTree.parse(ROOT / "docs" / "images" / "tour.svg").getroot()
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for element in root.iter("{http://www.w3.org/2000/svg}rect"):
        right = float(element.get("x", 0)) + float(element.attrib["width"])
        bottom = float(element.get("y", 0)) + float(element.attrib["height"])
        assert right <= width
        assert bottom <= height


def steps_of(title: str) -> list[tuple[str, str]]:
    """File and function of each step of a list."""
    return re.findall(r"^\d\. `([\w/]+\.py):([\w.]+)`", LISTS[title], flags=re.MULTILINE)


class Follower:
    """Writes down which functions of ours call which in a run: those of `src` below `src/dense_hf`, and scripts."""

    def __init__(self, steps: list[tuple[str, str]]):
        self.steps = steps
        # of the first call of each step, the outermost function first
        self.stacks: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self.working: set[str] = set()  # files of all that is called by the steps from the third on
        self._places: dict[CodeType, tuple[str, str] | None] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        here = self.place(frame) if event == "call" else None
        if here is None or here[0] == "registration.py":  # it is asked when the libraries import something late
            return
        stack = [place for place in map(self.place, self.callers(frame)) if place is not None]
        if here in self.steps:
            self.stacks.setdefault(here, stack[::-1])
        if any(place in self.steps[2:] for place in stack):
            self.working.add(here[0])

    @staticmethod
    def callers(frame: FrameType):
        while (frame := frame.f_back) is not None:
            yield frame

    def place(self, frame: FrameType) -> tuple[str, str] | None:
        """File and function; None for those of others. Remembered, for millions of calls are followed."""
        code = frame.f_code
        if code not in self._places:
            self._places[code] = self.place_of_code(code)
        return self._places[code]

    @staticmethod
    def place_of_code(code: CodeType) -> tuple[str, str] | None:
        path = Path(code.co_filename)
        for base, root in ((ROOT / "src" / "dense_hf", ROOT / "src" / "dense_hf"), (ROOT / "scripts", ROOT)):
            if path.is_relative_to(base):
                return path.relative_to(root).as_posix(), code.co_qualname
        return None


ONE_STEP = "--max_steps 1 --eval_strategy no --save_strategy no --load_best_model_at_end false --disable_tqdm true"


@pytest.fixture(scope="module", params=["IOCFormer", "MCIS"])
def followed(request, run_here, tmp_path_factory):
    """A step of the smoke training, as a person starts it."""
    folder, name = tmp_path_factory.mktemp("tour"), request.param.lower()
    if name == "mcis":
        generate_miniature_weak(folder / "data", 6, 1, 0, image_size=(44, 36), disable_progress=True)
    else:
        generate_miniature_set(folder / "data", 2, 0, 0, image_size=(300, 260), disable_progress=True)
    config = ROOT / "scripts" / "configs" / name / "smoke.yaml"
    options = ["--config", config, "--data_dir", folder / "data", "--output_dir", folder / "run", *ONE_STEP.split()]
    follower = Follower(steps_of(request.param))
    sys.setprofile(follower)
    try:
        run_here(f"train_{name}.py", *options)
    finally:
        sys.setprofile(None)
    return follower


def test_a_reader_opens_at_most_seven_files(followed):
    assert 1 < len({path for path, _ in followed.steps}) <= 7
    assert len(followed.steps) == len({path for path, _ in followed.steps})


def test_each_step_is_taken_in_the_order_of_the_tour(followed):
    assert list(followed.stacks) == followed.steps


def test_each_step_hands_over_to_the_next(followed):
    """Steps 1 and 2 call 3, which calls 4, and 5, which calls 6, which calls 7; between them, what may be skipped."""
    listed = {path for path, _ in followed.steps} | SKIPPED
    first, second, *rest = followed.steps
    ways = ([first, second, *rest[:2]], [first, second, *rest[2:]])
    for way in ways:
        for number, step in enumerate(way):
            stack = followed.stacks[step]
            assert [place for place in stack if place in followed.steps] == way[:number], step
            assert {path for path, _ in stack} <= listed, step


def test_what_else_works_in_a_step_is_named_as_what_may_be_skipped(followed):
    assert followed.working - {path for path, _ in followed.steps} <= SKIPPED


def test_the_tour_skips_no_file_in_vain():
    """Every file that may be skipped exists, and no list has one twice."""
    assert all((ROOT / "src" / "dense_hf" / path).is_file() for path in SKIPPED)
    for title in ("IOCFormer", "MCIS"):
        numbers = [int(number) for number in re.findall(r"^(\d)\. ", LISTS[title], flags=re.MULTILINE)]
        assert all(after == before + 1 for before, after in pairwise(numbers))
        assert len(numbers) == len(steps_of(title)) == 7
