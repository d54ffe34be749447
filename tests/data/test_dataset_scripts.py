"""From a table of points to Parquet that `load_dataset` reads, through the scripts that people run."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from dense_hf.data import IOCfish5K, PointFolder, generate_miniature_set, open_image, read_points

SCRIPTS = Path(__file__).parents[2] / "dataset_scripts"


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts") / "set"
    generate_miniature_set(folder, 4, 2, 2, image_size=(60, 50), max_objects=6)
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(10):
        Image.new("RGB", (40, 30), (index * 20, 90, 90)).save(folder / f"photo {index}.png")
    (folder / "notes.txt").write_text("not an image")
    lines = ["y,image,x", *(f"{index + 0.5},photo {index}.png,{index}" for index in range(9)), "7,photo 0.png,39"]
    (tmp_path / "points.csv").write_text("\n".join([*lines, ",photo 9.png,"]))
    return folder


def convert(photos, *options):
    return import_module("points_from_csv").main(
        [str(photos.parent / "points.csv"), str(photos), str(photos.parent / "out"), *options]
    )


@pytest.mark.parametrize("name", ["iocfish5k", "make_miniature_set", "make_miniature_weak", "points_from_csv"])
def test_help_teaches_by_examples(name, capsys):
    with pytest.raises(SystemExit) as exit_status:
        import_module(name).main(["--help"])
    assert exit_status.value.code == 0
    assert f"    python dataset_scripts/{name}.py " in capsys.readouterr().out


def test_a_script_runs_as_a_program(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [
        sys.executable,
        SCRIPTS / "make_miniature_set.py",
        tmp_path / "set",
        "--train",
        "2",
        "--size",
        "64",
        "48",
    ]
    run = subprocess.run([*command, "--test", "0"], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert "synthetic" in run.stdout
    assert PointFolder(tmp_path / "set").list_lengths == {"train": 2, "validation": 4}


def test_a_table_becomes_a_folder(photos, tmp_path):
    assert convert(photos) == 0
    data = IOCfish5K(data_dir=tmp_path / "out", cache_dir=str(tmp_path / "cache"))
    data.download_and_prepare()
    train = data.as_dataset("train")
    assert train["image_id"][:] == [f"photo {index}.png" for index in range(10)]
    assert train[0]["points"] == [[0, 0.5], [39, 7]]
    assert train[8]["points"] == [[8, 8.5]]
    assert train[9]["points"] == []
    assert np.array_equal(train[3]["image"], open_image(photos / "photo 3.png"))


def test_shares_are_split_at_random_but_reproducibly(photos, tmp_path):
    ids = []
    for seed in ("0", "0", "1"):
        assert convert(photos, "--validation", "0.2", "--test", "0.3", "--seed", seed) == 0
        ids.append(PointFolder(tmp_path / "out").ids)
        (tmp_path / "out").rename(tmp_path / f"out{len(ids)}")
    assert {split: len(names) for split, names in ids[0].items()} == {"train": 5, "validation": 2, "test": 3}
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(("unit", "whole"), [("fraction", 1), ("percent", 100)])
def test_coordinates_in_parts_of_the_sides(photos, tmp_path, unit, whole):
    """Fractions, taken for pixels, would put every point into the upper left one."""
    sizes = {path.name: Image.open(path).size for path in photos.glob("*.png")}
    rows = [f"{name},{0.25 * whole},{0.5 * whole}" for name in sizes]
    (tmp_path / "points.csv").write_text("\n".join(["image,x,y", *rows]))
    assert convert(photos, "--unit", unit) == 0
    for name, (width, height) in sizes.items():
        annotation = tmp_path / "out" / "annotations" / f"{name.removesuffix('.png')}.xml"
        assert read_points(annotation, (width, height)).points.tolist() == [[width / 4, height / 2]]


def test_fractions_are_no_pixels_unless_somebody_says_so(photos, tmp_path, capsys):
    rows = [f"{path.name},0.25,1" for path in photos.glob("*.png")]
    (tmp_path / "points.csv").write_text("\n".join(["image,x,y", *rows]))
    assert convert(photos) == 1
    assert "--unit fraction" in capsys.readouterr().err
    assert convert(photos, "--unit", "pixel") == 0


BAD_TABLES = {
    "image,x\na.png,1": "columns image,x,y",
    "image,x,size\na.png,1,2": "columns image,x,y",
    "": "columns image,x,y",
    "image,x,y": "at least one image",
    "image,x,y\nphoto 0.png,1": "3 values",
    "image,x,y\nphoto 0.png,1,nan": "line 2",
    "image,x,y\nphoto 0.png,1_0,2": "line 2",
    "image,x,y\nphoto 0.png,,2": "line 2",
    "image,x,y\n../photos/photo 0.png,1,2": "9 pictures without annotations",
    "image,x,y\n/etc/passwd,1,2": "passwd: expected a picture of this name",
    "image,x,y\n..,1,2": "the name of a picture",
    "image,x,y\nphoto 0.png,,\nphoto 0.png,1,2": "line 2 calls empty",
    "image,x,y\nphoto 10.png,1,2": "photo 10.png: expected a picture of this name",
    "image,x,y\nphoto 1.png,1,2": "9 pictures without annotations are left out (photo 0.png",
    'image,x,y\n"photo 1.png,1,2': "CSV",
    "EVERY,40,2": "photo 0.png, line 2: 40, 2",
    "EVERY,0,-1": "line 2: 0, -1",
}


@pytest.mark.parametrize("table", BAD_TABLES)
def test_a_bad_table_is_refused_and_nothing_is_left(photos, tmp_path, capsys, table):
    rows = [f"photo {index}.png{table.removeprefix('EVERY')}" for index in range(10)]
    (tmp_path / "points.csv").write_text("image,x,y\n" + "\n".join(rows) if table.startswith("EVERY") else table)
    assert convert(photos) == 1
    message = capsys.readouterr().err
    assert BAD_TABLES[table] in message
    assert "expected" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "points.csv"]


def test_bad_images_and_equal_stems_are_refused(photos, tmp_path, capsys):
    (photos / "photo 5.png").write_bytes((photos / "photo 5.png").read_bytes()[:-30])
    assert convert(photos) == 1
    assert "photo 5.png" in capsys.readouterr().err
    (tmp_path / "points.csv").write_text("image,x,y\nphoto 0.png,,\nphoto 0.jpg,,\n")
    for path in photos.glob("*.png"):
        path.unlink()
    for suffix in ("png", "jpg"):
        Image.new("RGB", (9, 9)).save(photos / f"photo 0.{suffix}")
    assert convert(photos) == 1
    assert "differ in more than folder and suffix" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_statistics_and_parquet(miniature, tmp_path, capsys):
    output = tmp_path / "parquet"
    assert (
        import_module("iocfish5k").main([str(miniature), "--own_data", "--parquet", str(output), "--num_proc", "2"])
        == 0
    )
    printed = capsys.readouterr().out
    data = datasets.load_dataset(str(output), cache_dir=str(tmp_path / "cache"))
    builder = IOCfish5K(data_dir=miniature, cache_dir=str(tmp_path / "cache2"))
    builder.download_and_prepare()
    for split, expected in builder.as_dataset().items():
        assert data[split].features == expected.features
        assert data[split]["points"][:] == expected["points"][:]
        assert data[split]["image_id"][:] == expected["image_id"][:]
        for ours, theirs in zip(data[split], expected):
            assert np.array_equal(ours["image"], theirs["image"])
    counts = [len(points) for split in data.values() for points in split["points"]]
    total = f"| {sum(counts)} | {min(counts)} | {np.mean(counts):.1f} | {max(counts)} | 0 |"
    card = (output / "README.md").read_text()
    for text in (printed, card):
        assert total in text
        assert f"| all | {len(counts)} | 0 | 0 | 0 | {len(counts)} |" in text
    assert sorted(os.listdir(output)) == ["README.md", "data"]
    assert all(name.endswith(".parquet") for name in os.listdir(output / "data"))
    assert not any(str(miniature).encode() in path.read_bytes() for path in (output / "data").iterdir())


def test_the_parquet_can_be_streamed(miniature, tmp_path):
    output = tmp_path / "parquet"
    assert import_module("iocfish5k").main([str(miniature), "--own_data", "--parquet", str(output)]) == 0
    stream = datasets.load_dataset(str(output), split="validation", streaming=True, cache_dir=str(tmp_path / "cache"))
    assert [row["image_id"] for row in stream] == PointFolder(miniature).ids["validation"]


def test_a_download_that_is_not_complete_is_named_file_by_file(miniature, tmp_path, capsys):
    folder = tmp_path / "set"
    generate_miniature_set(folder, 4, 2, 2, image_size=(60, 50), max_objects=6)
    (folder / "images" / "synthetic_train_00001.jpg").unlink()
    broken = folder / "images" / "synthetic_train_00002.jpg"
    broken.write_bytes(broken.read_bytes()[:-300])
    (folder / "annotations" / "synthetic_test_00000.xml").write_text("<annotation>")
    output = tmp_path / "parquet"
    main = import_module("iocfish5k").main
    assert main([str(folder), "--parquet", str(output)]) == 1
    error = capsys.readouterr().err
    for text in (
        "missing: images/synthetic_train_00001.jpg",
        "synthetic_train_00002.jpg: expected a complete",
        "synthetic_test_00000.xml: expected well-formed XML",
        "train_id.txt has 4 images instead of 3,137",
    ):
        assert text in error
    assert not output.exists()
    assert main([str(miniature)]) == 1
    assert "points, 0 of them left out, instead of 659,024" in capsys.readouterr().err


def test_pushing_needs_parquet_and_a_folder_is_not_overwritten(miniature, tmp_path, capsys):
    main = import_module("iocfish5k").main
    with pytest.raises(SystemExit):
        main([str(miniature), "--own_data", "--push_to_hub", "me/set"])
    assert "give both" in capsys.readouterr().err
    (tmp_path / "mine").touch()
    assert main([str(miniature), "--own_data", "--parquet", str(tmp_path)]) == 1
    assert os.listdir(tmp_path) == ["mine"]
    assert main([str(tmp_path / "nowhere")]) == 1
