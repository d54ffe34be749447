"""The notebooks run from the first cell to the last, on what they draw themselves; they are stored without outputs."""

import ast
import re
import shutil

import pytest
from pages import ROOT, environment, make_clone

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
REFERENCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
# what a person sees at the end of each, of which nothing is there unless all before it has worked
SHOWN = {
    "count_my_photos": ["model/results.json", "model/model.safetensors"],
    "segment_a_video": ["street.mp4"],
    "masks_from_labels": ["classifier/model.safetensors", "maps/localization.json", "labels/pseudo_labels.json"],
}


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    notebook = nbformat.read(request.param, as_version=4)
    nbformat.validate(notebook)
    return request.param.stem, notebook


def test_nothing_of_a_run_is_stored(notebook):
    _, notebook = notebook
    assert [cell.id for cell in code(notebook) if cell.outputs or cell.execution_count is not None] == []
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert set(notebook.metadata.language_info) == {"name"}  # the version of a machine's Python is not
    for cell in notebook.cells:
        assert not re.search(r"(?<![\w.:/])/(?:home|root|tmp|Users|mnt|work)\b|\b[A-Z]:\\", cell.source), cell.source


def test_only_public_names_are_used(notebook):
    _, notebook = notebook
    program = "\n".join(re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE) for cell in code(notebook))
    taken = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("dense_hf")
        for alias in node.names
    ]
    assert taken
    assert [name for name in taken if not re.search(rf":: {re.escape(name)}$", REFERENCE, re.MULTILINE)] == []


@pytest.mark.slow
def test_every_cell_runs(notebook, tmp_path, noise):
    name, notebook = notebook
    clone = make_clone(tmp_path, noise)
    (clone / "street.mp4").unlink()  # a reader who brings nothing along
    shutil.rmtree(clone / "data")
    (clone / "data").mkdir()
    (clone / "notebooks").mkdir()
    resources = {"metadata": {"path": str(clone / "notebooks")}}
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources)
    client.execute(env=environment())
    for cell in code(notebook):
        # a script that ends with an error is one of the cell only in its output
        assert [one for one in cell.outputs if one.output_type == "error"] == [], cell.source
        assert cell.execution_count is not None
    pictures = [one for cell in code(notebook) for one in cell.outputs if "image/png" in one.get("data", ())]
    assert len(pictures) >= 2
    (work,) = clone.glob("runs/*")
    assert [file for file in SHOWN[name] if not (work / file).is_file()] == []
