"""The programs of scripts/demo/ and dataset_scripts/ as modules."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "dataset_scripts", ROOT / "scripts" / "demo")


@pytest.fixture
def script(monkeypatch):
    """`script(name)`: a file of scripts/demo/ or dataset_scripts/ as a module, which finds those beside it."""
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(str(folder))
    yield import_module
    for folder in FOLDERS:
        for path in folder.glob("*.py"):
            sys.modules.pop(path.stem, None)
