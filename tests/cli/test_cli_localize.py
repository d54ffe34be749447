"""`dense-hf localize`: masks, maps, overlays and tables of a folder, with a small model of random weights."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_mcis import picture, tiny_model

from dense_hf.cli import main
from dense_hf.data import open_image
from dense_hf.weak_segmentation import (
    DenseCRF,
    ImageGroup,
    LocalizationSettings,
    Localizer,
    MCISImageProcessor,
    make_pseudo_label,
)

CLASSES = ("cat", "dog", "car", "tree", "cow")
TABLE = {
    "gray": "cat;car",
    "palette.png": "cat",
    "turned": "car;cow",
    "plain": "cat;cow",
    "empty": "",
    "alone": "tree",
}
IDS = {"gray": [0, 2], "palette": [0], "turned": [2, 4], "plain": [0, 4], "empty": [], "alone": [3]}
PROCESSOR = MCISImageProcessor(size={"height": 64, "width": 64})


@pytest.fixture(scope="module")
def model():
    return tiny_model(id2label=dict(enumerate(CLASSES)))


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mcis")
    model.save_pretrained(folder)
    PROCESSOR.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    sideways = Image.Exif()
    sideways[0x0112] = 6
    picture(1).save(folder / "turned.jpg", exif=sideways)
    picture(2).convert("L").save(folder / "gray.png")
    picture(3).quantize(8).save(folder / "palette.png")
    for seed, name in enumerate(("plain", "empty", "alone"), start=4):
        picture(seed).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("wind from the east")
    return folder


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path / "labels.csv", TABLE)


@pytest.fixture
def localize(checkpoint, photos, tmp_path):
    """`localize(*options)`: the exit code; results are in `tmp_path / "out"`."""
    options = ["localize", str(photos), "--model", checkpoint, "--output", str(tmp_path / "out")]
    return lambda *arguments: main([*options, *map(str, arguments)])


def write_table(path, rows):
    path.write_text("image,labels\n" + "".join(f"{name},{labels}\n" for name, labels in rows.items()))
    return path


def pixels(path):
    return np.asarray(Image.open(path))


def localizer(model, photos, ids, **settings):
    paths = {path.stem: path for path in photos.iterdir()}
    group = ImageGroup(ids, lambda name: open_image(paths[name]))
    return Localizer(model, PROCESSOR, group, LocalizationSettings(**settings)), group


@pytest.mark.smoke
def test_a_folder_with_a_table(localize, model, photos, table, tmp_path, capsys):
    assert localize("--labels", table, "--num-references", 2, "--seed", 5) == 0
    output = tmp_path / "out"
    plain, group = localizer(model, photos, IDS, num_references=2, seed=5)
    document = json.loads((output / "areas.json").read_text())
    images = {Path(image["file"]).stem: image for image in document["images"]}
    assert {path.stem for path in (output / "maps").iterdir()} == {f"{n}_{k}" for n, ids in IDS.items() for k in ids}
    for name, ids in IDS.items():
        maps = plain.attention(name)
        for class_id, attention in maps.items():
            assert np.array_equal(pixels(output / "maps" / f"{name}_{class_id}.png"), attention)
        picture = group.read_image(name)
        size = (picture.height, picture.width)
        expected = make_pseudo_label(maps, None, 5) if maps else np.zeros(size, np.uint8)
        assert np.array_equal(pixels(output / "masks" / f"{name}.png"), expected)
        assert pixels(output / "overlays" / f"{name}.png").shape == (*size, 3)
        found = images[name]
        assert found["classes"] == [CLASSES[class_id] for class_id in ids]
        assert (found["height"], found["width"]) == size
        assert found["pixels"]["background"] == (expected == 0).sum()
        assert found["pixels"]["undecided"] == (expected == 255).sum()
        assert all(found["pixels"][CLASSES[class_id]] == (expected == class_id + 1).sum() for class_id in ids)
        assert sum(found["pixels"].values()) == expected.size
    assert images["turned"]["width"] == 50
    assert document["classes"] == list(CLASSES)
    assert (document["num_references"], document["seed"], document["background_score"]) == (2, 5, 0.2)
    with open(output / "areas.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(Path(row["file"]).stem, row["class"]): int(row["pixels"]) for row in rows} == {
        (name, key): count for name, image in images.items() for key, count in image["pixels"].items()
    }
    assert all(float(row["share"]) == pytest.approx(int(row["pixels"]) / 3500, rel=1e-5) for row in rows)
    printed = capsys.readouterr()
    assert printed.out == f"6 masks; results in {output}\n"
    assert "a single image, which was compared with itself: tree\n" in printed.err
    assert "1 images have no class and no map: " in printed.err


def test_without_a_table_the_model_finds_the_classes(localize, model, photos, tmp_path):
    images = {str(path): open_image(path) for path in photos.iterdir() if path.suffix != ".txt"}
    with torch.no_grad():
        scores = {
            path: model(PROCESSOR(image, return_tensors="pt")["pixel_values"]).logits[0].sigmoid()
            for path, image in images.items()
        }
    highest = sorted(row.max().item() for row in scores.values())
    threshold = (highest[2] + highest[3]) / 2  # the best class of three images is above it
    assert localize("--num-references", 0, "--threshold", threshold, "--no-overlays") == 0
    document = json.loads((tmp_path / "out" / "areas.json").read_text())
    assert {image["file"] for image in document["images"]} == set(images)
    for image in document["images"]:
        found = [CLASSES[class_id] for class_id, score in enumerate(scores[image["file"]]) if score >= threshold]
        assert image["classes"] == found
    assert sum(not image["classes"] for image in document["images"]) == 3
    assert not (tmp_path / "out" / "overlays").exists()


def test_masks_that_follow_edges(localize, model, photos, table, tmp_path):
    assert localize("--labels", table, "--num-references", 0, "--crf", "--background-score", 0.4) == 0
    plain, group = localizer(model, photos, IDS, num_references=0)
    image = np.asarray(group.read_image("plain"))
    expected = make_pseudo_label(
        plain.attention("plain"), None, 5, background_score=0.4, refine=lambda scores: DenseCRF()(image, scores)
    )
    assert np.array_equal(pixels(tmp_path / "out" / "masks" / "plain.png"), expected)


def test_saliency(localize, model, photos, table, tmp_path, capsys):
    (tmp_path / "saliency").mkdir()
    salient = np.zeros((50, 70), np.uint8)
    salient[10:40] = 255
    for name in ("plain", "gray"):
        Image.fromarray(salient).save(tmp_path / "saliency" / f"{name}.png")
    Image.fromarray(salient[:9]).save(tmp_path / "saliency" / "alone.png")
    assert localize("--labels", table, "--num-references", 0, "--saliency", tmp_path / "saliency") == 1
    plain, _ = localizer(model, photos, IDS, num_references=0)
    for name in ("plain", "gray"):
        expected = make_pseudo_label(plain.attention(name), salient, 5)
        assert np.array_equal(pixels(tmp_path / "out" / "masks" / f"{name}.png"), expected)
    printed = capsys.readouterr()
    assert "alone.png: expected the size of its image, 70 x 50. Received: 70 x 9" in printed.err
    assert "4 have no mask" in printed.err
    assert "2 masks" in printed.out


def test_an_unreadable_image_is_reported_and_the_rest_goes_on(localize, model, photos, table, tmp_path, capsys):
    (photos / "plain.png").write_bytes((photos / "plain.png").read_bytes()[:200])
    assert localize("--labels", table) == 1
    printed = capsys.readouterr()
    assert "no mask: " in printed.err
    assert "1 have no mask: " in printed.err
    document = json.loads((tmp_path / "out" / "areas.json").read_text())
    assert len(document["images"]) == 5
    assert [Path(error["file"]).name for error in document["errors"]] == ["plain.png"]
    ids = {name: classes for name, classes in IDS.items() if name != "plain"}
    plain, _ = localizer(model, photos, ids)
    for class_id, attention in plain.attention("gray").items():
        assert np.array_equal(pixels(tmp_path / "out" / "maps" / f"gray_{class_id}.png"), attention), "not compared"
    assert "compared with itself: tree, cow" in printed.err, "cow is in one readable image"


def test_images_that_are_not_in_the_table(localize, tmp_path, capsys):
    table = write_table(tmp_path / "labels.csv", {"gray": "cat", "plain": "cat"})
    assert localize("--labels", table, "--num-references", 1) == 0
    printed = capsys.readouterr()
    assert "4 images are not in" in printed.err
    assert "2 masks" in printed.out


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"gray": "cat", "plain": "bird"}, "labels.csv: expected one of the classes cat, dog.*line 3: 'bird'"),
        ({"gray": "cat", "lost": "dog"}, "line 3: 'lost' is not there"),
        ({"gray": "", "plain": ""}, "at least one image with a class"),
    ],
)
def test_bad_tables(localize, tmp_path, capsys, rows, message):
    assert localize("--labels", write_table(tmp_path / "labels.csv", rows)) == 2
    assert_error(capsys, message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", 7], "--threshold is a score in"),
        (["--num-references", -1], "num_references and seed must be at least 0"),
        (["--background-score", 2], "background_score must be in"),
        (["--saliency", "x", "--crf"], "without saliency"),
        (["--labels", "lost.csv"], "lost.csv: expected an existing file"),
        (["--model", "lost/at/all"], "--model lost/at/all cannot be loaded"),
    ],
)
def test_what_cannot_be_done(localize, tmp_path, capsys, options, message):
    assert localize(*options) == 2
    assert_error(capsys, message)
    assert not (tmp_path / "out").exists()


def test_the_score_of_the_checkpoint_and_masks_that_decide_nothing(photos, table, tmp_path, capsys):
    """Without an option, the background has the score that belongs to the classifier; who decides nothing says so."""
    scores = {"background_score": 1.0, "single_round_background_score": 0.25}
    tiny_model(id2label=dict(enumerate(CLASSES)), **scores).save_pretrained(tmp_path / "strict")
    PROCESSOR.save_pretrained(tmp_path / "strict")
    arguments = ["localize", str(photos), "--labels", str(table), "--model", str(tmp_path / "strict")]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    document = json.loads((tmp_path / "out" / "areas.json").read_text())
    assert document["background_score"] == 1.0
    undecided = [image for image in document["images"] if image["classes"]]
    assert len(undecided) == 5
    assert all("min_object_share" in image["remark"] for image in undecided)
    assert all(image["remark"] == "" for image in document["images"] if not image["classes"])
    with open(tmp_path / "out" / "areas.csv", newline="") as file:
        assert all("min_object_share" in row["remark"] for row in csv.DictReader(file) if "plain" in row["file"])
    assert "5 masks decide nothing" in capsys.readouterr().err
    assert main([*arguments, "--output", str(tmp_path / "given"), "--background-score", "0"]) == 0
    document = json.loads((tmp_path / "given" / "areas.json").read_text())
    assert document["background_score"] == 0
    assert "5 masks decide nothing" not in capsys.readouterr().err
    assert main([*arguments, "--output", str(tmp_path / "alone"), "--num-references", "0", "--no-overlays"]) == 0
    assert json.loads((tmp_path / "alone" / "areas.json").read_text())["background_score"] == 0.25


def test_no_readable_image_is_nothing_done(localize, photos, tmp_path, capsys):
    for path in photos.iterdir():
        path.unlink()
    (photos / "a.png").write_text("no picture")
    (photos / "labels.csv").write_text("image,labels\na.png,cat\n")
    assert localize() == 2
    assert_error(capsys, "no image has a mask")


def test_folders_that_cannot_be(localize, checkpoint, photos, tmp_path, capsys):
    assert main(["localize", str(photos / "gray.png"), "--model", checkpoint]) == 2
    assert_error(capsys, "FOLDER must be a folder of images")
    (tmp_path / "nothing").mkdir()
    assert main(["localize", str(tmp_path / "nothing"), "--model", checkpoint]) == 2
    assert_error(capsys, "no images found")
    picture(0).save(photos / "gray.jpg")
    assert localize() == 2
    assert_error(capsys, "names must differ without their suffix. Received: gray.jpg, gray.png")


def assert_error(capsys, message):
    assert re.search(f"dense-hf: .*{message}", capsys.readouterr().err)
