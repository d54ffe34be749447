"""Cards of data sets: metadata that the Hub can read, what a reader needs, and no number that somebody typed."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard

import dense_hf
from dense_hf.data import generate_miniature_set, generate_miniature_videos

TEMPLATES = sorted((Path(__file__).parents[2] / "dataset_scripts" / "cards").glob("*.md"))
SECTIONS = ["What it is for", "Limits", "Statistics", "Source", "How it was made"]


def make_points(folder: Path) -> str:
    generate_miniature_set(folder, 2, 1, 1, image_size=(60, 50), max_objects=6)
    return "iocfish5k"


def make_videos(folder: Path) -> str:
    generate_miniature_videos(folder, 1, 1, 0, num_frames=3, frame_size=(40, 32))
    return "vspw"


@pytest.mark.parametrize(("make", "task"), [(make_points, "other"), (make_videos, "image-segmentation")])
def test_a_card(make, task, tmp_path, capsys):
    script = make(tmp_path / "set")
    output = tmp_path / "parquet"
    options = ["--own_data", "--parquet", str(output), "--title", "My data", "--source", "Dives of 2026."]
    assert import_module(script).main([str(tmp_path / "set"), *options]) == 0
    card = DatasetCard.load(output / "README.md")
    assert card.data.task_categories == [task]
    assert card.data.pretty_name == "My data"
    assert card.data.license is None  # nobody but the owner can say it
    assert card.data.tags
    files = {entry["split"]: entry["path"] for entry in card.data.configs[0]["data_files"]}
    assert all(list(output.glob(path)) for path in files.values())
    assert re.findall(r"^## (.+)$", card.text, flags=re.MULTILINE) == SECTIONS
    assert "Dives of 2026." in card.text
    assert f"python dataset_scripts/{script}.py FOLDER --own_data --parquet DIR" in card.text
    assert f"With dense_hf {dense_hf.__version__}, 20" in card.text
    assert str(tmp_path) not in card.text


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_no_number_is_typed_into_a_template(path):
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == SECTIONS
    (statistics,) = re.findall(r"^## Statistics\n+(.+?)^## ", text, flags=re.MULTILINE | re.DOTALL)
    assert "{{ statistics }}" in statistics
    assert set(re.findall(r"\d+\.\d+", statistics)) <= {"2.1", "2.2"}  # tables of the thesis
