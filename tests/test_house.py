"""The house is in order: what the documents promise about the repository as a whole."""

import ast
import configparser
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import dense_hf

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "dense_hf"
SOURCES = sorted(PACKAGE.rglob("*.py"))

TASK_FOLDERS = {"counting", "video_segmentation", "weak_segmentation"}
# What a room of the package may import from the others. A task folder, and a pipeline, are copied beside checkpoints.
# Below all of them: errors. The package itself (`__init__`) and the program (`cli`) may use everything.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "strict_loading": set(),
    "counting": set(),
    "video_segmentation": set(),
    "weak_segmentation": set(),
    "pipelines": {"data"},  # in a `try` only: the copy beside a checkpoint must do without
    "auto": {"counting", "video_segmentation", "weak_segmentation", "pipelines"},
    "convert": {"errors", "counting", "video_segmentation", "weak_segmentation"},
    "visualization": {"errors"},
    "spaces": {"errors", "data"},
    "data": {"errors", "counting", "metrics"},
    "metrics": {"errors", "counting"},
    "training": {"errors", "convert", "data", "metrics", *TASK_FOLDERS},
}
# Below the task folders, for what is not copied beside a checkpoint: reading the authors' files
CONVERTERS_MAY_IMPORT = {"strict_loading"}
TASK_LIBRARIES = {"huggingface_hub", "numpy", "PIL", "scipy", "timm", "torch", "torchvision", "transformers"}


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
) -> Iterator[tuple[str, str]]:
    """("ours", room) or ("sibling", module) or ("library", name) of every import of a file, wherever it stands."""
    inside = path.relative_to(PACKAGE.parent).parts[:-1]
    for node in nodes(ast.parse(text or path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(inside[: len(inside) - node.level + 1]) if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            # `from .. import convert` and `from dense_hf import convert` name a module, or a name of the package
            targets = [[*module, alias.name] for alias in node.names] if module == ["dense_hf"] else [module]
            if node.level == 1 and len(inside) > 1:
                yield from (("sibling", ".".join(target[len(inside) :])) for target in targets)
                continue
        else:
            continue
        for target in targets:
            yield ("ours", target[1] if len(target) > 1 else "") if target[0] == "dense_hf" else ("library", target[0])


def layering_problems(path: Path, text: str | None = None) -> list[str]:
    """Imports of a file that its room may not have."""
    here = room(path)
    if here in ("__init__", "cli"):
        return []
    if here not in MAY_IMPORT:
        return [f"{here}: a new room; say in MAY_IMPORT what it may import"]
    problems = []
    if here == "pipelines" and path.name != "__init__.py":
        needed = imports(path, text, outside_try)
        problems += [
            f"a pipeline is copied beside checkpoints and needs {name}" for kind, name in needed if kind == "ours"
        ]
    for kind, name in imports(path, text):
        if path.name.startswith("convert_") and name in CONVERTERS_MAY_IMPORT:
            continue
        if kind == "ours" and name != here and name not in MAY_IMPORT[here]:
            problems.append(f"{here} must not know {name}")
        if here in TASK_FOLDERS:
            if kind == "ours":
                problems.append(f"a file of {here} imports siblings by `from .sibling import x` only, not {name}")
            if kind == "library" and name not in TASK_LIBRARIES | set(sys.stdlib_module_names):
                problems.append(f"a file of {here} must not need {name}")
            if kind == "sibling" and "." in name:
                problems.append(f"{here} is copied flat, so there is no {name}")
    return problems


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_know_only_what_is_below_them(path):
    assert layering_problems(path) == []


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
        ("pipelines/a.py", "from ..counting import x"),
        ("pipelines/a.py", "from dense_hf.data import open_image"),
        ("attic/a.py", "import os"),
    ],
)
def test_a_wrong_import_is_found(file, text):
    assert layering_problems(PACKAGE / file, text) != []


def test_files_that_travel_with_checkpoints_have_unique_names():
    names = [path.name for folder in TASK_FOLDERS for path in (PACKAGE / folder).glob("*.py")]
    names = [name for name in names if name != "__init__.py"]
    assert len(names) == len(set(names))
    counting = [path.name for path in (PACKAGE / "counting").glob("*.py") if path.name != "__init__.py"]
    assert [name for name in counting if not name.endswith("_iocformer.py")] == []


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


@pytest.mark.slow
@pytest.mark.network
def test_a_wheel_has_all_the_package(tmp_path):
    """Built as `pip install .` builds it, from a copy that has only what the build reads."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", tmp_path / "clone" / "src", ignore=ignore)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "clone")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(tmp_path / "clone"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("the package registry cannot be reached")
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"dense_hf-{dense_hf.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    expected = {f"dense_hf/{path.relative_to(PACKAGE)}" for path in [*SOURCES, PACKAGE / "py.typed"]}
    assert sorted(expected - inside) == []
