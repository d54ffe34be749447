"""What people get who have no clone: a source distribution, metadata, requirements of a Space."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from lowest_versions import lowest_versions
from tiny_checkpoints import CHECKPOINTS
from tiny_counters import TINY_COUNTERS

import dense_hf
from dense_hf.methods import methods

ROOT = Path(__file__).parents[1]
ADDRESS = "https://github.com/dense-hf/dense_hf"
# what a clone has; all else there is made
FOLDERS = (
    "benchmarks",
    "checkpoints",
    "dataset_scripts",
    "docker",
    "docs",
    "model_cards",
    "notebooks",
    "scripts",
    "spaces",
    "src",
    "tests",
)
FILES = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md")
FILES += ("SECURITY.md", "pyproject.toml", "setup.cfg", ".ci/run", ".gitignore", ".pre-commit-config.yaml")
MADE = {"__pycache__", "_build", "dense_hf.egg-info"}


@pytest.fixture(scope="module")
def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def files_of_a_clone() -> list[str]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    kept = [path.relative_to(ROOT) for path in found if not MADE & set(path.parts) and path.suffix != ".pyc"]
    return sorted([*map(str, kept), *FILES])


@pytest.mark.slow
def test_a_source_distribution_has_all_and_passes_tests_of_its_own(tmp_path):
    """Built from links to what a clone has, without the hidden files of an earlier build."""
    clone = tmp_path / "clone"
    for name in files_of_a_clone():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(ROOT / name, clone / name)
        except OSError:  # another file system
            (clone / name).symlink_to(ROOT / name)
    build = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "sdist", "--formats", "tar"]
    done = subprocess.run(build, cwd=clone, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    (archive,) = (clone / "dist").iterdir()
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    (place,) = tmp_path.glob("dense_hf-*")
    assert [name for name in files_of_a_clone() if not (place / name).is_file()] == []
    tests = [f"tests/{name}.py" for name in ("counting/test_tiling_iocformer", "metrics/test_counting_metrics")]
    words = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    environment = {**os.environ, "PYTHONPATH": str(place / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d+ passed", done.stdout)


def test_the_metadata_has_addresses_of_one_repository(setup):
    metadata = setup["metadata"]
    addresses = dict(line.split(" = ") for line in metadata["project_urls"].strip().splitlines())
    assert metadata["url"] == ADDRESS
    assert {"Documentation", "Changelog", "Issues", "Security"} <= addresses.keys()
    for address in addresses.values():
        assert address.startswith(f"{ADDRESS}/")
        path = re.sub(rf"^{ADDRESS}/(?:(?:blob|tree)/main/)?", "", address)
        assert path == "issues" or (ROOT / path).exists()


def test_a_space_installs_a_commit_that_exists(setup):
    for file in sorted(ROOT.glob("spaces/*/requirements.txt")):
        (line,) = file.read_text(encoding="utf-8").splitlines()
        match = re.fullmatch(rf"dense_hf\[([a-z,]+)\] @ git\+{ADDRESS}@([0-9a-f]{{40}})", line)
        assert match, f"{file}: {line}"
        assert set(match[1].split(",")) <= set(setup["options.extras_require"])
        git = ["git", "-C", str(ROOT)]
        shallow = subprocess.run([*git, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True)
        if (ROOT / ".git").exists() and shallow.stdout.strip() == "false":
            subprocess.run([*git, "cat-file", "-e", f"{match[2]}^{{commit}}"], check=True)


def test_the_lowest_versions_are_those_of_setup_cfg(tmp_path):
    found = dict(line.split("==") for line in lowest_versions())
    assert found["numpy"] == "2"
    assert found["transformers"] == "5.23"
    assert found["ruff"] == "0.17.6"
    assert "dense_hf" not in found
    for requirement in ("numpy", "numpy<3", "numpy>1"):
        path = tmp_path / "setup.cfg"
        path.write_text(f"[options]\ninstall_requires =\n    {requirement}\n[options.extras_require]\n")
        with pytest.raises(ValueError, match=re.escape(requirement)):
            lowest_versions(path)


def test_every_script_has_a_smoke_test():
    """`make test-lowest` runs what is marked: files with such tests name all scripts but those of the pipeline."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    smoke = "\n".join(text for text in texts if "pytest.mark.smoke\n" in text)
    steps = re.findall(r'"(\w+\.py)", "', (ROOT / "scripts" / "run_weak_pipeline.py").read_text(encoding="utf-8"))
    missing = []
    for script in (ROOT / "scripts").glob("*.py"):
        named = script.stem in smoke or f'"{script.stem.removeprefix("train_")}": ' in smoke
        if not named and script.name not in steps:
            missing.append(script.name)
    assert missing == []


def test_every_model_has_a_smoke_test():
    """Those of `tiny_checkpoints`, where a new one is a line, `tiny_counters`, `tiny_dilated` and of its own; two are
    trained.
    """
    covered = {make_model().config.model_type for make_model, _, _ in CHECKPOINTS.values()} | TINY_COUNTERS.keys()
    covered |= {"affinity_net", "density_counter", "pspnet_video", "ocrnet_video", "tcb", "netwarp", "upernet"}
    covered.add("deeplabv3plus_video")
    assert sorted(methods().keys() - covered) == []


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
    package = ROOT / "src" / "dense_hf"
    expected = {f"dense_hf/{path.relative_to(package)}" for path in [*package.rglob("*.py"), package / "py.typed"]}
    assert sorted(expected - inside) == []
