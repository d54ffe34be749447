"""Each format, from a small file written by hand after its documentation: where every object is, by every rule of it.

The scene: a.png (40 x 30) with a fish around (10.25, 5.5), a crab at (39, 29) and a fish at (0, 0); b.png is empty.
"""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dense_hf import InvalidDataError
from dense_hf.data.formats import read_annotations

FILES = Path(__file__).parents[2] / "fixtures" / "annotations"
SCENE = [(10.25, 5.5, "fish"), (39, 29, "crab"), (0, 0, "fish")]
WHOLE = [(10, 5.5, "fish"), *SCENE[1:]]
NUMBERED = [(10.25, 5.5, "1"), (39, 29, "2"), (0, 0, "1")]
CASES = {
    "csv": ("csv", SCENE),
    "coco": ("coco", [*SCENE[:2], (0.5, 0.5, "fish")]),  # the last one is the pixel (0, 0), whose centre that is
    "yolo": ("yolo", SCENE),
    # pixels 1 to 4 and 1 to 6, counted from one, both included: from 0 to 4 and from 0 to 6
    "voc_from_one": ("voc", [(2, 3, "fish"), (39, 29, "crab")]),
    "voc_from_zero": ("voc", [(2, 3, "fish"), (39, 29, "crab")]),
    "labelme": ("labelme", SCENE),
    "cvat": ("cvat", SCENE),
    "label_studio": ("label_studio", SCENE),
    "via": ("via", WHOLE),
    "darwin": ("darwin", SCENE),
    "qupath": ("qupath", SCENE),
    "imagej": ("imagej", NUMBERED),
    "imagej_set": ("imagej", SCENE),
    "createml": ("createml", SCENE),
    "datumaro": ("datumaro", SCENE),
    "image_folder": ("image_folder", SCENE),
    "imagej_table": ("imagej", [(x, y, None) for x, y, _ in SCENE]),
}
SAID = {
    "csv": ["columns that are not read (points.csv: note)"],
    "labelme": ["1 left out: lines (dive/a.png, shape 4)"],
    "cvat": ["1 kept: marked as occluded", "1 kept: turned boxes", "1 left out: lines", "1 left out: tags"],
    "label_studio": ["1 left out: annotations that were cancelled (task 1, annotation 5)", "1 left out: pictures of"],
    "darwin": ["1 left out: no objects (tag) (a.png, annotation 4)"],
    "qupath": [
        "1 kept: polygons with holes, which are filled",
        "1 left out: annotation areas beside detections",
        "1 left out: lines",
    ],
    "datumaro": ["1 kept: marked as occluded", "1 left out: points that are not labelled", "left out: no objects"],
    "imagej_set": ["1 left out: lines (a, 0003-0004.roi)"],
    "imagej_table": ["1 kept: tables in the unit of the picture's scale"],
    "voc_from_one": ["1 kept: sets of boxes that count pixels from 1"],
}


def objects(record):
    return sorted((round(x, 9), round(y, 9), str(name)) for (x, y), name in zip(record.points, record.classes))


@pytest.mark.parametrize("case", CASES)
def test_every_object_is_where_its_tool_put_it(case):
    format, expected = CASES[case]
    pictures = read_annotations(FILES / case)
    assert pictures.format == format
    first = pictures[0]
    assert Path(str(first.image)).stem.removeprefix("0a1b2c3d-") == "a"
    assert objects(first) == sorted((x, y, str(name)) for x, y, name in expected)
    assert all(len(picture) == 0 and Path(str(picture.image)).name.startswith("b") for picture in pictures[1:])
    said = SAID.get(case, [])
    for sentence in said:
        assert any(sentence in problem for problem in pictures.problems), pictures.problems
    assert len(pictures.problems) == max(len(said), 1 if case == "imagej" else 0), pictures.problems
    assert pictures.num_dropped == sum(int(one.split()[0]) for one in pictures.problems if "left out" in one)


def test_a_single_file_is_read_as_its_folder_is():
    for file in ("csv/points.csv", "yolo/data.yaml", "labelme/a.json", "cvat/annotations.xml", "imagej/a.roi"):
        single, whole = read_annotations(FILES / file), read_annotations((FILES / file).parents[0])
        assert objects(single[0]) == objects(whole[0])
    assert objects(read_annotations(FILES / "yolo/labels/train/a.txt")[0]) == sorted(SCENE)


def test_a_track_is_one_object_in_each_frame_until_it_is_outside():
    frames = read_annotations(FILES / "cvat_video")
    assert [frame.image for frame in frames] == [f"frame_{number:06d}" for number in range(4)]
    fish = [(2, 2, "fish"), (6, 3, "fish"), (10, 4, "fish"), (10, 4, "fish")]
    assert [objects(frame)[0] for frame in frames if len(frame) == 1] == [fish[0], *fish[2:]]
    assert objects(frames[1]) == [fish[1], (39, 29, "crab")]
    assert frames.num_dropped == 1
    said = " ".join(frames.problems)
    assert "1 kept: on the straight line between two drawn shapes" in said
    assert "1 kept: behind the last drawn shapes of a track (track 0, frame 3)" in said


def test_geojson_is_pixels_only_where_that_is_said():
    path = FILES / "geojson" / "points.geojson"
    with pytest.raises(InvalidDataError, match="degrees, as RFC 7946 has it"):
        read_annotations(path)
    pictures = read_annotations(path, format="geojson")
    assert objects(pictures[0]) == sorted(SCENE)
    assert pictures.problems == ("1 left out: features without a geometry (a.png, feature 4)",)


def test_names_stay_below_the_folder_of_the_pictures():
    assert read_annotations(FILES / "csv")[0].image == "a.png"  # C:\\dive 1\\a.png, without what all names share
    assert read_annotations(FILES / "labelme")[0].image == "dive/a.png"  # ..\\dive\\a.png
    assert [one.image for one in read_annotations(FILES / "label_studio")] == [
        "data/upload/3/0a1b2c3d-a.png",
        "dive 1/b.png",
    ]


def test_splits_are_those_of_folders_and_lists():
    assert {one.split for one in read_annotations(FILES / "coco")} == {"train"}
    assert {one.split for one in read_annotations(FILES / "yolo")} == {"train"}
    assert {one.split for one in read_annotations(FILES / "cvat")} == {None}


def test_the_name_of_one_picture_is_no_split(tmp_path):
    """A file of many pictures may be called after a split, and so may a folder; "test_12.json" is a picture."""
    for name in ("test_12", "train at night", "b"):
        shutil.copy(FILES / "labelme" / "a.json", tmp_path / f"{name}.json")
        text = (tmp_path / f"{name}.json").read_text().replace("a.png", f"{name}.png")
        (tmp_path / f"{name}.json").write_text(text)
    assert {one.split for one in read_annotations(tmp_path)} == {None}
    for folder, name, split in (
        ("valid", "x.json", "validation"),
        ("Test site", "x.json", None),
        ("train2017", "x.json", "train"),
        ("a", "instances_val2017.json", "validation"),
    ):
        target = tmp_path / f"{folder} {name}" / folder / name
        target.parent.mkdir(parents=True)
        shutil.copy(FILES / "coco" / "train" / "_annotations.coco.json", target)
        assert {one.split for one in read_annotations(target.parents[1])} == {split}


def test_the_point_of_a_polygon_is_the_centre_of_its_box_or_its_centroid():
    """A triangle with corners (8.25, 3.5), (12.25, 3.5), (12.25, 7.5)."""
    points = read_annotations(FILES / "darwin", polygon_point="centroid")[0].points
    assert np.allclose(points[0], [12.25 - 4 / 3, 3.5 + 4 / 3])
    with pytest.raises(ValueError, match="polygon_point"):
        read_annotations(FILES / "darwin", polygon_point="middle")


@pytest.mark.parametrize(("keypoints", "found"), [([0, 0, 0], 0), ([5, 6, 1], 1), ([5, 6, 2], 1), ([0, 0, 0] * 2, 1)])
def test_an_only_keypoint_that_is_not_labelled_is_no_object(tmp_path, keypoints, found):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": keypoints, "bbox": [4, 4, 4, 4]}
    category = {"id": 1, "name": "crab", "keypoints": ["point"] * (len(keypoints) // 3)}
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
    document = {"images": [image], "annotations": [annotation], "categories": [category]}
    path = tmp_path / "points.json"
    path.write_text(json.dumps(document))
    pictures = read_annotations(path)
    assert sum(len(record) for record in pictures) == found
    assert any("labelled (v = 0)" in problem for problem in pictures.problems) == (sum(keypoints) == 0)


def words(record):
    return [(x, y, name) for (x, y), name in zip(record.points.tolist(), record.classes)]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("\ufeffDateiname;X;Y;Art\r\na.png;10,25;5,5;Köderfisch\r\n;;;\r\n".encode(), "Köderfisch"),
        (b"sep=;\r\nBild;x-Koordinate;y-Koordinate;Klasse\r\na.png;10,25;5,5;Fisch;\r\n", None),
        (b"sep=;\r\nBild;x-Koordinate;y-Koordinate;Klasse;\r\na.png;10,25;5,5;Fisch;\r\n", "Fisch"),
        ("img_path\tx_px\ty_px\tSpecies Name\na.png\t10.25\t5.5\tétoile\n".encode("utf-16"), "étoile"),
        ("photo;center_x;center_y;espèce\r\na.png;1,025e1;5,5;étoile\r\n".encode("cp1252"), "étoile"),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, content, found):
    path = tmp_path / "points.csv"
    path.write_bytes(content)
    if found is None:  # a line with one value more than the header: which is which nobody knows; it is the third
        with pytest.raises(InvalidDataError, match="line 3: expected 4 values"):
            read_annotations(path)
    else:
        (record,) = read_annotations(path)
        assert words(record) == [(10.25, 5.5, found)]


@pytest.mark.parametrize("sides", ["w,h", "width,height"])
def test_x_and_y_beside_sides_may_be_corners(tmp_path, sides):
    path = tmp_path / "boxes.csv"
    path.write_text(f"image,x,y,{sides}\na.png,1,2,3,4\n")
    with pytest.raises(InvalidDataError, match="bbox_x,bbox_y,bbox_width,bbox_height"):
        read_annotations(path)


def test_what_is_no_annotation_is_called_by_its_name(tmp_path):
    workbook = tmp_path / "points.xlsx"
    with zipfile.ZipFile(workbook, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(InvalidDataError, match=r"points\.xlsx.*a workbook of Excel.*save it as CSV"):
        read_annotations(workbook)
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9}]))
    with pytest.raises(InvalidDataError, match="results of COCO, which have no pictures"):
        read_annotations(results)


def test_sets_that_macos_has_packed(tmp_path):
    """It puts a file of other contents beside each."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(FILES / "imagej_set" / "a_RoiSet.zip") as original,
        zipfile.ZipFile(packed, "w") as archive,
    ):
        for name in original.namelist():
            archive.writestr(name, original.read(name))
            archive.writestr(f"__MACOSX/._{name}", b"\0\5\x16\7")
    path = tmp_path / "a_RoiSet.zip"
    path.write_bytes(packed.getvalue())
    (record,) = read_annotations(path)
    assert objects(record) == sorted((round(x, 9), round(y, 9), name) for x, y, name in SCENE)


def test_qupath_objects_of_several_geometries_and_derived_classes(tmp_path):
    square = [[10, 10], [20, 10], [20, 20], [10, 20], [10, 10]]
    hole = [[12, 12], [13, 12], [13, 13], [12, 12]]
    triangle = [[30, 30], [40, 30], [40, 40], [30, 30]]
    geometries = [
        {"type": "Point", "coordinates": [5, 6]},
        {"type": "Polygon", "coordinates": [square, hole]},
        {"type": "MultiPolygon", "coordinates": [[triangle]]},
    ]
    properties = {"objectType": "annotation", "classification": {"names": ["Immune", "CD8"], "color": [1, 2, 3]}}
    feature = {
        "type": "Feature",
        "id": "0b8d6f2e",
        "geometry": {"type": "GeometryCollection", "geometries": geometries},
        "properties": properties,
    }
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    annotations = read_annotations(path)
    assert words(annotations[0]) == [(5, 6, "Immune: CD8"), (25, 25, "Immune: CD8")]
    assert any("polygons with holes" in problem for problem in annotations.problems)
