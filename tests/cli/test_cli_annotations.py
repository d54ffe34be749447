"""`dense-hf annotations`: what is in a file, all that is wrong with it, and the way to other formats and pictures."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dense_hf.cli import main
from dense_hf.data import PointFolder, read_points
from dense_hf.data.formats import AnnotatedImage, read_annotations, write_annotations
from dense_hf.inference.count_tables import CountRow, CountTables

FILES = Path(__file__).parents[1] / "fixtures" / "annotations"
PICTURES = FILES / "yolo" / "images"


def run(*words):
    return main(["annotations", *map(str, words)])


def test_check_says_what_there_is(capsys):
    assert run("check", FILES / "cvat", "--images", PICTURES) == 0
    said = capsys.readouterr()
    assert "cvat, 2 pictures, 3 objects" in said.out
    assert "pictures without objects: 1" in said.out
    assert "        2  fish" in said.out
    assert "1 left out: tags of whole pictures" in said.err


def test_check_lists_all_problems_at_once(tmp_path, capsys):
    rows = [f"a.png,{x},1" for x in ("nan", "1", "1_0", "", "2")]
    (tmp_path / "points.csv").write_text("\n".join(["image,x,y", *rows, "b.png,1"]))
    assert run("check", tmp_path / "points.csv") == 2
    said = capsys.readouterr().err
    for line, value in ((2, "'nan'"), (4, "'1_0'"), (5, "''"), (7, "['b.png', '1']")):
        assert f"points.csv, line {line}: expected" in said
        assert f"Received: {value}" in said
    assert "4 problems, listed above" in said


def test_check_finds_no_picture_another_size_and_two_names_for_one(tmp_path, capsys):
    records = [
        AnnotatedImage.of_points("a.png", [[1, 2]], (80, 60)),
        AnnotatedImage.of_points("c.png", [[1, 2]], (40, 30)),
        AnnotatedImage.of_points("b.png", [], (20, 10)),
        AnnotatedImage.of_points("other/b", [], (20, 10)),
    ]
    write_annotations(records, tmp_path / "a.xml", "cvat")
    assert run("check", tmp_path / "a.xml", "--images", PICTURES) == 2
    said = capsys.readouterr().err
    assert "a.png: expected the size of the picture. Received: 80 x 60 for a.png, which has 40 x 30" in said
    assert "c.png: expected a picture of this name" in said
    assert "other/b: expected a picture of its own. Received: b.png, as b.png" in said


@pytest.mark.parametrize("source", ["csv", "label_studio", "qupath", "darwin"])
def test_a_format_becomes_a_folder_to_train_on(source, tmp_path, capsys):
    """Also of formats without sizes, with other names and with half of the pictures for validation."""
    out = tmp_path / "out"
    words = ("--to", "iocfish5k", "--images", PICTURES, "--validation", "0.5", "--seed", "1")
    assert run("convert", FILES / source, out, *words) == 0
    folder = PointFolder(out)
    assert folder.list_lengths == {"train": 1, "validation": 1}
    folder.check_complete()
    points = read_points(out / "annotations" / "a.xml", (40, 30)).points
    assert np.allclose(sorted(points.tolist()), [[0, 0], [10.25, 5.5], [39, 29]])
    assert "2 pictures with 3 objects" in capsys.readouterr().out


def test_from_any_format_to_any_other(tmp_path):
    chain = ("coco", "cvat", "labelme", "label_studio", "yolo", "geojson", "csv", "qupath")
    path = FILES / "labelme"
    for format in chain:
        assert run("convert", path, tmp_path / format, "--to", format, "--images", PICTURES) == 0
        path = tmp_path / format
    points = {Path(str(one.image)).stem: one.points.tolist() for one in read_annotations(path)}
    assert np.allclose(sorted(points["a"]), [[0, 0], [10.25, 5.5], [39, 29]], rtol=0, atol=1e-9)


def test_what_a_count_found_can_be_corrected_and_fed_back(tmp_path):
    """Rows are deleted and added; a picture whose last row is deleted has no objects any more."""
    rows = [
        CountRow("=dive/a.png", 40, 30, 2, None, 0.5, 0, [(1.25, 2.5, 0.9), (3.0, 4.0, 0.4)]),
        CountRow("b.png", 20, 10, 1, None, 0.5, 0, [(5.0, 5.0, 0.6)]),
    ]
    with CountTables(tmp_path, []) as tables:
        tables.finish(rows, {}, {})
    table = (tmp_path / "points.csv").read_text()
    assert "'=dive" in table
    assert [len(one) for one in read_annotations(tmp_path)] == [2, 1]
    lines = [line for line in table.splitlines() if not line.startswith("b.png")]
    (tmp_path / "points.csv").write_text("\n".join([*lines, "'=dive/a.png,39,29,"]))
    first, second = read_annotations(tmp_path / "points.csv")
    assert (first.image, first.size, first.points.tolist()) == ("=dive/a.png", None, [[1.25, 2.5], [3, 4], [39, 29]])
    assert (second.image, second.size, len(second)) == ("b.png", (20, 10), 0)


def test_strict_leaves_nothing_out(tmp_path, capsys):
    assert run("convert", FILES / "cvat", tmp_path / "a.csv", "--to", "csv", "--strict") == 2
    assert "1 left out: tags of whole pictures" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_and_bad_words_are_refused(tmp_path, capsys):
    (tmp_path / "mine.csv").write_text("mine")
    for words, message in (
        ((FILES / "csv", tmp_path / "mine.csv", "--to", "csv"), "is there already"),
        ((FILES / "csv", tmp_path / "out", "--to", "voc"), "--to takes"),
        ((FILES / "csv", tmp_path / "out", "--to", "csv", "--test", "1.5"), "shares"),
        ((FILES / "csv", tmp_path / "out", "--to", "csv", "--format", "excel"), "format must be one of"),
        ((FILES / "nowhere", tmp_path / "out", "--to", "csv"), "nothing there"),
        ((FILES / "csv", tmp_path / "out", "--to", "cvat", "--images", tmp_path), "a.png: expected a picture"),
    ):
        assert run("convert", *words) == 2
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    assert (tmp_path / "mine.csv").read_text() == "mine"


def test_show_draws_a_dot_on_each_object(tmp_path, capsys):
    shutil.copytree(PICTURES, tmp_path / "photos")
    Image.new("RGB", (40, 30), (20, 20, 20)).save(tmp_path / "photos" / "train" / "a.png")
    words = ("show", FILES / "csv", "--images", tmp_path / "photos", "--output", tmp_path / "look")
    assert run(*words, "--limit", "1") == 0
    assert "1 pictures with their points" in capsys.readouterr().out
    drawn = np.asarray(Image.open(tmp_path / "look" / "a.png.jpg").convert("RGB")).astype(int)
    assert drawn.shape == (30, 40, 3)
    assert drawn[4:8, 8:13].max() > 150  # the dot of (10.25, 5.5)
    assert drawn[14:24, 4:24].max() < 80
    assert run(*words) == 2
    assert "new or empty folder" in capsys.readouterr().err


@pytest.mark.parametrize("action", [[], ["check"], ["convert"], ["show"]])
def test_help_teaches(action, capsys):
    with pytest.raises(SystemExit) as status:
        run(*action, "--help")
    assert status.value.code == 0
    text = capsys.readouterr().out
    assert "label_studio  JSON, JSON-MIN or CSV" in text
    assert not action or f"    dense-hf annotations {action[0]} " in text
