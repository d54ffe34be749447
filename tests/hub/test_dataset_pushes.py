"""`--push_to_hub` of the data set scripts, against the stand-in for the Hub."""

from pathlib import Path

import pytest
from fresh_processes import run_programs, script
from hub_stub import StubRepository
from PIL import Image

from dense_hf.data import generate_miniature_set, generate_miniature_videos

LOAD = """
import sys
from datasets import load_dataset
name, column = sys.argv[1:]
streamed = next(iter(load_dataset(name, split="validation", streaming=True)))
print("columns", sorted(streamed))
data = load_dataset(name, split="validation")
assert data[0][column] == streamed[column]
print("rows", len(data))
"""
# column to compare, rows of the validation split; a new script is one line
SCRIPTS = {"iocfish5k": ("points", 2), "pascal_voc_weak": ("labels", 2), "vspw": ("video_id", 3)}


def write_weak_folder(folder: Path) -> None:
    """One image to train on, two for validation, with masks."""
    for split, size in (("train", 1), ("val", 2)):
        (folder / split / "images").mkdir(parents=True)
        for index in range(size):
            Image.new("RGB", (48, 36), (90 * index, 0, 9)).save(folder / split / "images" / f"{index}.png")
        rows = "".join(f"{index},disc\n" for index in range(size))
        (folder / split / "labels.csv").write_text(f"image,labels\n{rows}")
    (folder / "val" / "masks").mkdir()
    for index in range(2):
        Image.new("L", (48, 36), index).save(folder / "val" / "masks" / f"{index}.png")


def publishing(name: str, *options: object):
    folders = ["--own_data", "--parquet", f"{name}_parquet", "--push_to_hub", f"someone/{name}"]
    return script(f"dataset_scripts/{name}.py", f"{name}_data", *folders, *options)


@pytest.mark.slow
def test_data_sets_are_published_and_a_failed_upload_is_repeated(hub, tmp_path):
    generate_miniature_set(tmp_path / "iocfish5k_data", 2, 2, 1, image_size=(60, 50), max_objects=6)
    generate_miniature_videos(tmp_path / "vspw_data", 1, 1, 0, num_frames=3, frame_size=(48, 36))
    write_weak_folder(tmp_path / "pascal_voc_weak_data")
    environment = hub.environment()
    hub.before = lambda method, path: 403 if "/commit/" in path else None
    for name, (code, text) in run_programs(
        {name: publishing(name, "--private") for name in SCRIPTS}, tmp_path, environment
    ).items():
        assert code == 1, text
        assert "error: not uploaded; the same command tries again. 403" in text
        assert "Traceback" not in text
        assert hub.files(f"someone/{name}", "dataset") == {}
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*_parquet/data/*")}
    assert len(written) == 7

    hub.before = lambda method, path: None
    for name, (code, text) in run_programs(
        {name: publishing(name, "--private") for name in SCRIPTS}, tmp_path, environment
    ).items():
        assert code == 0, text
        assert f"{name}_parquet is there already; it is uploaded as it is" in text
        assert f"/datasets/someone/{name}/commit/" in text
        files = hub.files(f"someone/{name}", "dataset")
        assert f'load_dataset("someone/{name}"' in files["README.md"].decode()
        here = tmp_path / f"{name}_parquet"
        assert files == {str(path.relative_to(here)): path.read_bytes() for path in here.rglob("*") if path.is_file()}
        assert hub.repositories["dataset", f"someone/{name}"].private
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert hub.count("PUT", "/large/") == 7, "what had arrived is not sent again"

    loads = {name: (LOAD, [f"someone/{name}", column]) for name, (column, _) in SCRIPTS.items()}
    for name, (code, text) in run_programs(loads, tmp_path, environment, package=False).items():
        assert code == 0, text[-3000:]
        assert f"rows {SCRIPTS[name][1]}" in text


@pytest.mark.slow
def test_private_data_do_not_go_to_a_public_repository(hub, tmp_path):
    hub.repositories["dataset", "someone/iocfish5k"] = StubRepository(commits=[{}])
    generate_miniature_set(tmp_path / "iocfish5k_data", 1, 1, 0, image_size=(60, 50), max_objects=6)
    programs = {"push": publishing("iocfish5k", "--private")}
    ((code, text),) = run_programs(programs, tmp_path, hub.environment()).values()
    assert code == 1
    assert "this one is public" in text
    assert hub.files("someone/iocfish5k", "dataset") == {}
