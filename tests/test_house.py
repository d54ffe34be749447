"""The house is in order: what the documents promise about the repository as a whole."""

import ast
import configparser
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import dense_hf

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "dense_hf"
SOURCES = sorted(PACKAGE.rglob("*.py"))

TASK_FOLDERS = {"counting", "video_segmentation", "weak_segmentation"}
# Rooms of the package from the lowest to the highest: each knows only those below it. The package itself (`__init__`)
# is the public names, which scripts and the program build upon.
LEVELS = (
    {"errors", "lazy_names", "markdown", "same_names"},
    {"bfloat16", "reading", "saving", "setting_bounds"},
    {"strict_loading"},
    {"metrics", "strict_auto_models", "visualization"},
    TASK_FOLDERS,
    {
        "auto",
        "convert",
        "convert_cffm",
        "convert_counters",
        "convert_density_counter",
        "convert_iocformer",
        "convert_mrcfa",
        "convert_segformer",
        "convert_video_baselines",
        "data",
        "method_row",
        "method_variants",
        "methods",
        "options",
        "pipelines",
        "registration",
    },
    {"__init__"},
    {"inference"},
    {"export", "reports", "training"},
    {"service", "spaces"},
    {"cli"},
    {"__main__", "cluster"},
)
# and these pairs know each other although they are at one level, the first the second
NEIGHBORS = {
    ("convert", "methods"),
    ("convert_cffm", "convert_segformer"),
    ("convert_mrcfa", "convert_segformer"),
    ("export", "reports"),
    ("methods", "method_row"),
    ("methods", "method_variants"),
    ("methods", "registration"),
    ("pipelines", "data"),  # in a `try` only: the copy beside a checkpoint must do without
    ("training", "reports"),
}
# Below the task folders, for what is not copied beside a checkpoint: reading the authors' files
CONVERTERS_MAY_IMPORT = {"strict_loading"}
OPTIONAL_LIBRARIES = {"cv2", "segmentation_models_pytorch", "skimage"}  # in a `try`
TASK_LIBRARIES = {"huggingface_hub", "numpy", "PIL", "scipy", "timm", "torch", "torchvision", "transformers"}

Graph = dict[str, dict[str, int]]
"""File -> the files that it imports, and in which line."""


def setup_cfg() -> configparser.ConfigParser:
    """The metadata."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup


def room(path: Path) -> str:
    """The room of a file of the package: its folder, or its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def outside_try(node: ast.AST) -> Iterator[ast.AST]:
    """What a file cannot do without, as transformers sees it when it loads code of a checkpoint."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Try):
            yield from outside_try(child)


def imports(
    path: Path, text: str | None = None, nodes: Callable[[ast.AST], Iterator[ast.AST]] = ast.walk
) -> Iterator[tuple[int, list[str]]]:
    """Line and full name of every import of a file, wherever it stands: in a function, for the types only.

    `from a import b` is a.b, whatever b is. Names in texts, as in the rows of methods.py, are no imports: they are how
    a lower room may mention a higher one. Nor is that Python imports the packages which a module is in.
    """
    inside = path.relative_to(PACKAGE.parent).parts[:-1] if PACKAGE in path.parents else ()
    for node in nodes(ast.parse(text or path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(inside[: len(inside) - node.level + 1]) if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            yield from ((node.lineno, [*module, alias.name]) for alias in node.names)


def file_of(name: list[str]) -> str:
    """The file of the package, relative to it, that "dense_hf.x.y.Z" is in."""
    while name:
        path = PACKAGE.parent.joinpath(*name)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return str(file.relative_to(PACKAGE))
        name = name[:-1]
    raise ValueError("not a name of the package")


def package_graph() -> Graph:
    """Which file imports which."""
    graph: Graph = {}
    for path in SOURCES:
        here = graph.setdefault(str(path.relative_to(PACKAGE)), {})
        for line, name in imports(path):
            if name[0] == "dense_hf":
                here.setdefault(file_of(name), line)
    return graph


def circles(graph: Graph) -> list[str]:
    """The imports that are part of a circle: "file:line" and what is imported there."""

    def reached_from(file: str) -> set[str]:
        found, left = {file}, [file]
        while left:
            new = graph.get(left.pop(), {}).keys() - found
            found |= new
            left += new
        return found

    reached = {file: reached_from(file) for file in graph}
    return [
        f"{file}:{line} imports {target}, which leads back"
        for file, targets in graph.items()
        for target, line in targets.items()
        if file in reached.get(target, ())
    ]


def level(name: str) -> int:
    """How high a room is."""
    return next(number for number, rooms in enumerate(LEVELS) if name in rooms)


def layering_problems(path: Path, text: str | None = None) -> list[str]:
    """Imports of a file that its room may not have."""
    here, folder = room(path), path.relative_to(PACKAGE.parent).parts[:-1]
    if not any(here in rooms for rooms in LEVELS):
        return [f"{here}: a new room; say in LEVELS where it is"]
    problems = []

    def complain(line: int, problem: str) -> None:
        problems.append(f"{path.relative_to(PACKAGE)}:{line}: {problem}")

    if here == "pipelines" and path.name != "__init__.py":
        for line, name in imports(path, text, outside_try):
            if name[0] == "dense_hf" and tuple(name[:2]) != folder:
                complain(line, f"a pipeline is copied beside checkpoints and needs {'.'.join(name)}")
    # one file of each task folder may ask for the bounds of settings, in a `try`: the copy must do without
    optional = ("setting_bounds",) if here in TASK_FOLDERS and path.name.endswith("_bounds.py") else ()
    needed = {tuple(name) for _, name in imports(path, text, outside_try)}
    for line, name in imports(path, text):
        if name[:1] == ["dense_hf"] and tuple(name[1:2]) == optional and tuple(name) not in needed:
            continue
        ours = name[0] == "dense_hf"
        there = room(PACKAGE / file_of(name)) if ours else ""
        if path.name.startswith("convert_") and there in CONVERTERS_MAY_IMPORT:
            continue
        if ours and there != here and level(there) >= level(here) and (here, there) not in NEIGHBORS:
            complain(line, f"{here} must not know {there}")
        if here in TASK_FOLDERS:
            if ours and there != here:
                complain(line, f"a file of {here} imports siblings by `from .sibling import x` only, not {there}")
            can_do_without = name[0] in OPTIONAL_LIBRARIES and tuple(name) not in needed
            if not ours and not can_do_without and name[0] not in TASK_LIBRARIES | set(sys.stdlib_module_names):
                complain(line, f"a file of {here} must not need {name[0]}")
    if here in TASK_FOLDERS and path.name != "__init__.py":
        for node in ast.walk(ast.parse(text or path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1 and "." in (node.module or ""):
                complain(node.lineno, f"{here} is copied flat, so there is no {node.module}")
            absolute = (
                isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("dense_hf")
            )
            if absolute and node.module not in {f"dense_hf.{name}" for name in optional}:
                complain(node.lineno, f"{node.module} is not there beside a checkpoint")
    return problems


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_know_only_what_is_below_them(path):
    assert layering_problems(path) == []


def test_no_file_imports_itself_over_others():
    assert circles(package_graph()) == []


def test_a_circle_is_found():
    """Also one of three files, and one that only types need."""
    graph: Graph = {"a": {"b": 3}, "b": {"c": 7, "d": 8}, "c": {"a": 2}, "d": {}, "e": {"a": 1}}
    assert circles(graph) == [
        "a:3 imports b, which leads back",
        "b:7 imports c, which leads back",
        "c:2 imports a, which leads back",
    ]
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..metrics import MeanIoU\n"
    assert [".".join(name) for _, name in imports(PACKAGE / "data" / "a.py", text)][-1] == "dense_hf.metrics.MeanIoU"
    assert file_of(["dense_hf", "metrics", "MeanIoU"]) == "metrics/__init__.py"
    assert file_of(["dense_hf", "metrics", "counting", "CountingMetrics"]) == "metrics/counting.py"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("counting/a_iocformer.py", "from ..data import open_image"),
        ("counting/a_iocformer.py", "from dense_hf.counting.b_iocformer import x"),
        ("counting/a_iocformer.py", "from .folder.b import x"),
        ("counting/a_iocformer.py", "def f():\n    import datasets"),
        ("data/a.py", "from ..training.checkpoints import x"),
        ("data/a.py", "from .. import cli"),
        ("metrics/a.py", "import dense_hf.pipelines"),
        ("metrics/a.py", "def f():\n    from ..counting.tiling import x"),
        ("methods.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .training.resuming import x"),
        ("methods.py", "from . import convert"),
        ("inference/a.py", "from ..reports.model_card import x"),
        ("reports/a.py", "from ..training.resuming import x"),
        ("counting/a_iocformer.py", "import skimage"),
        ("counting/a_iocformer.py", "from ..weak_segmentation.random_walk import x"),
        ("pipelines/a.py", "from ..counting import x"),
        ("pipelines/a.py", "from dense_hf.data import open_image"),
        ("attic/a.py", "import os"),
    ],
)
def test_a_wrong_import_is_found(file, text):
    problems = layering_problems(PACKAGE / file, text)
    assert problems != []
    if not file.startswith("attic"):
        line = 1 + text[: text.index("from ." if "from ." in text else "import ")].count("\n")
        assert all(problem.startswith(f"{file}:{line}: ") for problem in problems)


def test_files_that_travel_with_checkpoints_have_unique_names():
    names = [path.name for folder in (*TASK_FOLDERS, "pipelines") for path in (PACKAGE / folder).glob("*.py")]
    names = [name for name in names if name != "__init__.py"]
    assert len(names) == len(set(names))


def misnamed_counters(graph: Graph) -> list[str]:
    """Files of counting/ whose name says otherwise than their imports whether they serve one method or any counter.

    A method is what has a configuration_X.py; its files end with _X. All others serve any counter.
    """
    files = [file for file in graph if file.startswith("counting/") and not file.endswith("__init__.py")]
    methods = [Path(file).stem.removeprefix("configuration_") for file in files if "/configuration_" in file]
    method = {file: next((name for name in methods if file.endswith(f"_{name}.py")), None) for file in files}
    problems = []
    for file in files:
        users = {method[other] for other in files if file in graph[other]} - {method[file]}
        if method[file] is not None and users:
            problems.append(f"{file} serves more than {method[file]}: {', '.join(sorted(map(str, users)))}")
    return problems


def test_files_that_serve_any_counter_carry_no_method():
    assert misnamed_counters(package_graph()) == []


def test_a_misnamed_counter_is_found():
    """A file of one method that another method, or a file of any counter, builds upon."""
    config = {f"counting/configuration_{name}.py": {} for name in ("iocformer", "p2pnet")}
    shared = {"counting/points_p2pnet.py": {}, "counting/tiling.py": {}}
    users: Graph = {"counting/modeling_iocformer.py": {"counting/points_p2pnet.py": 1, "counting/tiling.py": 2}}
    shared_by = "counting/points_p2pnet.py serves more than p2pnet"
    assert misnamed_counters(config | shared | users) == [f"{shared_by}: iocformer"]
    users = {"counting/tile_merging.py": {"counting/points_p2pnet.py": 1}}
    assert misnamed_counters(config | shared | users) == [f"{shared_by}: None"]
    users = {"counting/modeling_p2pnet.py": {"counting/points_p2pnet.py": 1, "counting/tiling.py": 2}}
    assert misnamed_counters(config | shared | users) == []


def test_no_folder_is_crowded():
    folders = {folder for top in ("src", "scripts") for folder in (ROOT / top).rglob("*") if folder.is_dir()}
    sizes = {folder: sum(file.is_file() for file in folder.iterdir()) for folder in folders | {ROOT / "scripts"}}
    crowded = [str(folder.relative_to(ROOT)) for folder, size in sizes.items() if size > 36]
    assert [folder for folder in crowded if "__pycache__" not in folder] == []
    assert len(list((ROOT / "scripts").glob("*.*"))) <= 20


def test_no_script_is_a_library():
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    importing = [
        f"{path.relative_to(ROOT)}:{line} imports {'.'.join(name)}"
        for folder in ("src", "scripts", "spaces", "dataset_scripts", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for line, name in imports(path)
        if name[0] in scripts or name[0] == "scripts"
    ]
    assert importing == []


def test_spaces_are_no_part_of_the_program():
    """They use the library as any user does; the room above them all is for the command line."""
    importing = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in (ROOT / "spaces", PACKAGE / "spaces")
        for path in folder.rglob("*.py")
        for line, name in imports(path)
        if name[:2] == ["dense_hf", "cli"]
    ]
    assert importing == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_library_neither_prints_nor_asserts(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [
        f"line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print")
    ]
    assert found == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_concept_per_file(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "the docstring of a module says what it is about"
    assert len(text.splitlines()) <= 450


def own_files() -> list[Path]:
    """The text files of the repository, or of its copy without git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split("\0") if listed.returncode == 0 else ["src", "tests", "scripts", "README.md"]
    found = [file for name in names if name for file in ([ROOT / name] if (ROOT / name).is_file() else [])]
    return [file for file in found if file.suffix in (".py", ".md", ".cfg", ".toml", ".yaml", ".cff", ".json", "")]


def test_no_paths_of_somebodys_machine():
    # "/etc/passwd" and such stand in the tests of what is refused
    machine = re.compile(r"(?<![\w.~$}*:/])/(?:home|Users|root|tmp|work|opt|mnt)/\w|\b[A-Z]:\\Users\\")
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in own_files()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if machine.search(line) and "re.compile" not in line
    ]
    assert found == []


def test_bundled_checkpoints_carry_the_code_of_this_version():
    """`save_pretrained` copies it beside the weights; after a change the copies must follow."""
    copies = [path for path in ROOT.glob("checkpoints/*/*.py") if path.parent.name != "__pycache__"]
    changed = [
        str(copy.relative_to(ROOT))
        for copy in copies
        if not any(
            (PACKAGE / folder / copy.name).is_file()
            and (PACKAGE / folder / copy.name).read_bytes() == copy.read_bytes()
            for folder in (*TASK_FOLDERS, "pipelines")
        )
    ]
    assert changed == []


# documents


def test_version_and_metadata():
    setup = setup_cfg()
    assert setup["metadata"]["version"] == "attr: dense_hf.__version__"
    assert "project" not in tomllib.loads((ROOT / "pyproject.toml").read_text()), "metadata belongs into setup.cfg"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == dense_hf.__version__
    assert citation["license"] == setup["metadata"]["license"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert newest
    assert newest[1] == dense_hf.__version__


def test_make_help_and_contributing_list_the_same_targets():
    help_text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    helped = set(re.findall(r"^  make ([a-z-]+) ", help_text, flags=re.MULTILINE))
    defined = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    table = re.findall(r"^\| `make ([a-z-]+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    assert helped == defined, "a target without `## what it does`"
    assert helped == set(table)


def test_tests_that_documents_name_exist():
    names = set(re.findall(r"^\s*def (test_\w+)", "\n".join(p.read_text() for p in ROOT.glob("tests/**/*.py")), re.M))
    for document in ("SECURITY.md", "CONTRIBUTING.md", "README.md"):
        named = set(re.findall(r"`(test_\w+)`", (ROOT / document).read_text(encoding="utf-8")))
        assert sorted(named - names) == [], document


def test_each_promise_of_security_names_its_test():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = [line.strip("| \n").split(" | ") for line in text.splitlines() if line.startswith("| **")]
    assert len(rows) > 20
    for promise, *_, shown_by in rows:
        assert re.search(r"`test_\w+`", shown_by), promise


def test_links_of_documents_lead_somewhere():
    for document in set(ROOT.glob("*.md")) - {ROOT / "README.md"}:  # which has a test of its own
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert "://" in link or (ROOT / link).exists(), f"{document.name}: {link}"


def test_the_tools_of_pre_commit_are_ours():
    """From .venv, whose versions stand in setup.cfg, or from the package registry with an exact version."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    developers = setup_cfg()["options.extras_require"]["dev"]
    for repo in config["repos"]:
        assert repo["repo"] == "local"
        for hook in repo["hooks"]:
            if hook["language"] == "system":
                program = hook["entry"].split()[0]
                assert re.search(rf"^{Path(program).name}\b", developers, flags=re.MULTILINE), program
                assert program.startswith(".venv/bin/")
            else:
                assert all("==" in dependency for dependency in hook["additional_dependencies"])


# packaging


def test_every_folder_with_code_is_a_package():
    """`packages = find:` leaves out folders without `__init__.py`."""
    assert [path for path in SOURCES if not (path.parent / "__init__.py").exists()] == []
    assert (PACKAGE / "py.typed").exists()
