"""The common tests that transformers runs against its own models, made importable for ours.

They are in the source distribution of the installed transformers version, which is fetched from the package registry
once (about 10 MB, kept in `build/`) and never copied into this repository. Four modules that they import, but that the
distribution lacks, are replaced by empty ones.
"""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import transformers
from filelock import FileLock

ROOT = Path(__file__).parents[2] / "build" / f"transformers-{transformers.__version__}"
PACKAGE = "transformers_common_tests"
MISSING_MODULES = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
    "../fetch_hub_objects_for_ci.py": "def url_to_local_path(url):\n    return url\n",
}


def fetch() -> None:
    """Put the common tests on the import path as the package `transformers_common_tests`, or skip the caller."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with FileLock(ROOT / "fetch.lock"):  # the processes of a parallel run collect tests at the same time
        if not (ROOT / PACKAGE / "test_modeling_common.py").exists():
            _download()
            _unpack(ROOT / f"transformers-{transformers.__version__}.tar.gz", ROOT / PACKAGE)
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))


def _download() -> None:
    requirement = f"transformers=={transformers.__version__}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
    command += ["--dest", str(ROOT), requirement]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    if done.returncode:
        pytest.skip(f"the registry has no {requirement} to give: {done.stderr[-300:]}", allow_module_level=True)


def _unpack(archive: Path, target: Path) -> None:
    partial = target.with_name(f"{PACKAGE}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    for name, content in MISSING_MODULES.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        (path.parent / "__init__.py").touch()
    (partial / "__init__.py").touch()
    with tarfile.open(archive) as tar:
        for member in tar:
            folders = Path(member.name).parts
            if len(folders) == 3 and folders[1] == "tests" and member.isfile() and member.name.endswith(".py"):
                (partial / folders[2]).write_bytes(tar.extractfile(member).read())
    partial.rename(target)  # whole or not at all
