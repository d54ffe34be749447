"""Label maps of polygons and masks of tools, and the folders that trainings read; polygons by brute force."""

import base64
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from dense_hf.cli import main
from dense_hf.data import read_video_folder, read_weak_split
from dense_hf.data.formats.runs import pixels_of_polygon
from dense_hf.data.labels import read_mask

FIELD = Path(os.environ.get("DENSE_HF_FIELD", Path(__file__).parents[4] / "shared" / "field" / "annotations"))
NAMES = ("crab", "fish", "sea urchin")


@settings(max_examples=100, deadline=None)
@example(corners=[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], size=(1, 1))
@given(
    corners=st.lists(st.tuples(st.floats(-3, 12), st.floats(-3, 12)), min_size=3, max_size=8),
    size=st.tuples(st.integers(1, 10), st.integers(1, 10)),
)
def test_a_pixel_is_inside_if_its_centre_is(corners, size):
    """By counting the edges that a ray from the centre to the right crosses; a centre on an edge, up to rounding, may
    be either."""
    width, height = size
    expected, on_edge = np.zeros((2, height, width), bool)
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]]):
                if (y0 <= y) != (y1 <= y):
                    crossing = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
                    expected[row, column] ^= crossing > x
                    on_edge[row, column] |= abs(crossing - x) < 1e-9
    found = pixels_of_polygon([np.array(corners)], size).mask(size)
    np.testing.assert_array_equal(found[~on_edge], expected[~on_edge])


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("a.png", (8, 6)), ("b.png", (5, 4))):
        Image.new("RGB", size, (90, 90, 90)).save(folder / name)
    return folder


def labelme(folder, name, size, *shapes):
    folder.mkdir(exist_ok=True)
    content = {"version": "5.5.0", "shapes": list(shapes), "imagePath": name}
    content |= {"imageWidth": size[0], "imageHeight": size[1]}
    (folder / name).with_suffix(".json").write_text(json.dumps(content))


def polygon(label, *points):
    return {"label": label, "points": points, "shape_type": "polygon"}


def png_text(mask):
    buffer = io.BytesIO()
    Image.fromarray(np.array(mask, bool)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def run(*words):
    return main(["annotations", "masks", *map(str, words)])


def test_polygons_and_masks_become_a_set_with_image_level_labels(photos, tmp_path, capsys):
    square = polygon("fish", (1, 1), (4, 1), (4, 3), (1, 3))
    mask = {"label": "crab", "points": [[3, 2], [4, 3]], "shape_type": "mask", "mask": png_text([[1, 0], [1, 1]])}
    labelme(tmp_path / "in", "a.png", (8, 6), square, mask)
    labelme(tmp_path / "in", "b.png", (5, 4))
    assert run(tmp_path / "in", tmp_path / "out", "--images", photos) == 0
    said = capsys.readouterr()
    assert "a.png: 1 pixels of two classes have the later one" in said.err
    assert "classes: crab, fish" in said.out
    folder = read_weak_split(tmp_path / "out", "train", with_masks=True)
    assert folder.class_names == ("crab", "fish")
    assert [(image.name, image.labels) for image in folder.images] == [("a", (0, 1)), ("b", ())]
    expected = np.zeros((6, 8), int)
    expected[1:3, 1:4] = 2
    expected[2, 3], expected[3, 3], expected[3, 4] = 1, 1, 1
    assert np.array_equal(np.asarray(Image.open(folder.images[0].mask_path)), expected)
    assert not np.asarray(Image.open(folder.images[1].mask_path)).any()


def test_frames_become_videos(tmp_path):
    photos = tmp_path / "frames"
    for video in ("dive1", "dive2"):
        (photos / video).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (8, 6)).save(photos / video / f"{index:03d}.png")
    images = [{"id": i, "file_name": f"dive{1 + i // 2}/{i % 2:03d}.png", "width": 8, "height": 6} for i in range(4)]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": [[0, 0, 8, 0, 8, i + 1, 0, i + 1]]}
        for i in range(4)
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fish"}]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    words = ("--images", photos, "--layout", "video")
    assert run(tmp_path / "coco.json", tmp_path / "out", *words, "--background", "water") == 0
    videos = read_video_folder(tmp_path / "out")
    assert videos.problems == []
    assert videos.rule.names == ("fish", "water")
    (first, second) = videos.splits["train"]
    assert (first.video_id, second.video_id) == ("dive1", "dive2")
    for index, frame in enumerate([*first.frames, *second.frames]):
        labels = read_mask(frame.mask_path, (8, 6), videos.rule)
        assert [int((labels == label).sum()) for label in (0, 1)] == [8 * (index + 1), 48 - 8 * (index + 1)]
    assert run(tmp_path / "coco.json", tmp_path / "other", *words) == 0
    videos = read_video_folder(tmp_path / "other")
    labels = read_mask(videos.splits["train"][0].frames[0].mask_path, (8, 6), videos.rule)
    assert [int((labels == label).sum()) for label in (0, 255)] == [8, 40]


def write_masks(folder, mode="L", **values):
    folder.mkdir()
    for name, value in values.items():
        Image.fromarray(np.asarray(value, np.uint8), mode=mode).save(folder / f"{name}.png")


A, B = np.zeros((6, 8), int), np.zeros((4, 5), int)


def test_black_and_white_masks_are_read_when_somebody_says_so(photos, tmp_path, capsys):
    white = A.copy()
    white[0, :3] = 255
    write_masks(tmp_path / "masks", a=white, b=B)
    Image.new("RGB", (3, 3)).save(photos / "c.png")
    words = (tmp_path / "masks", tmp_path / "out", "--images", photos)
    assert run(*words) == 2
    assert "one of labelmap.txt in the folder, the names of the classes, or the name of" in capsys.readouterr().err
    assert run(*words, "--classes", "fish") == 2
    assert "--foreground NAME" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(*words, "--foreground", "fish") == 0
    assert "1 pictures without a mask are left out (c.png)" in capsys.readouterr().err
    folder = read_weak_split(tmp_path / "out", "train", with_masks=True)
    assert (np.asarray(Image.open(folder.images[0].mask_path)) == (white > 0)).all()
    assert [image.labels for image in folder.images] == [(0,), ()]


def test_what_is_no_mask_is_refused(photos, tmp_path, capsys):
    numbered = A.copy()
    numbered[1, 1] = 3
    write_masks(tmp_path / "high", a=numbered, b=B)
    write_masks(tmp_path / "small", a=B, b=B)
    write_masks(tmp_path / "extra", a=A, c=B)
    (tmp_path / "color").mkdir()
    Image.new("RGBA", (8, 6)).save(tmp_path / "color" / "a.png")
    labelme(tmp_path / "points", "a.png", (8, 6), {"label": "fish", "points": [[1, 1]], "shape_type": "point"})
    labelme(tmp_path / "boxes", "a.png", (8, 6), {"label": "", "points": [[1, 1], [3, 3]], "shape_type": "rectangle"})
    for folder, message in (
        ("high", "a.png: expected class numbers 0 to 2, or 255. Received: [3]"),
        ("small", "a.png: expected the size of a.png, 8 x 6. Received: 5 x 4"),
        ("extra", "1 without: c.png"),
        ("color", "a picture of mode RGBA"),
        ("points", "a.png, shape 1: expected a polygon or a mask. Received: a point"),
        ("boxes", "a.png, shape 1: expected a class. Received: none"),
    ):
        assert run(tmp_path / folder, tmp_path / "out", "--images", photos, "--classes", "crab,fish") == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    not (FIELD / "truth.json").is_file(), reason="the folder with files of the real tools is not there"
)
@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("cvat_segmask_dm", ()),
        ("label_studio_brush/export.json", ()),
        ("coco_rle_dm", ()),
        ("coco_rle_pycocotools", ()),
        ("cvat_masks_rle", ()),
        ("masks/palette", ("--classes", "fish,crab,sea urchin")),
        ("masks/classes", ("--classes", "fish,crab,sea urchin")),
        ("masks/binary255", ("--foreground", "animal")),
        ("masks/binary01", ("--foreground", "animal")),
        ("masks/one_bit", ("--foreground", "animal")),
    ],
)
def test_masks_of_the_real_tools_have_the_pixels_of_the_truth(source, options, tmp_path):
    truth = json.loads((FIELD / "truth.json").read_text())["formats"]["masks"]["expected"]
    assert run(FIELD / source, tmp_path / "out", "--images", FIELD / "images", *options) == 0
    names = (tmp_path / "out" / "classes.txt").read_text().splitlines()
    for image, classes in truth.items():
        path = tmp_path / "out" / "masks" / f"{Path(image).stem}.png"
        if not path.exists():
            assert (source, image) == ("cvat_segmask_dm", "empty_03.png")  # for which the tool writes no file
            continue
        found = np.bincount(np.asarray(Image.open(path)).ravel(), minlength=len(names) + 1)
        if names == ["animal"]:
            assert found[1] == sum(classes.values())
        else:
            assert {name: found[names.index(name) + 1] for name in classes} == classes
