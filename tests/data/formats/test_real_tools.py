"""Files that the tools themselves wrote, where the folder with them is there (DENSE_HF_FIELD names it).

truth.json of that folder says where the objects are. Two of its rows are read differently on purpose:
voc_sv: VOC's sides are pixels counted from one, both included; so its centres are those of `true_centres`, up to the
rounding of the tool, and exactly those of `expected_detectron2`.
label_studio_coco_lossy: refused, because it lost objects.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dense_hf import InvalidDataError
from dense_hf.data.formats import read_annotations

FIELD = Path(os.environ.get("DENSE_HF_FIELD", Path(__file__).parents[4] / "shared" / "field" / "annotations"))
if not (FIELD / "truth.json").is_file():
    pytest.skip("the folder with files of the real tools is not there", allow_module_level=True)
TRUTH = json.loads((FIELD / "truth.json").read_text())
OF_PICTURES = ("cvat_segmask_dm", "masks", "geo", "label_studio_brush")  # of masks and maps, not of points
UNREAD = ("openimages_boxes_dm", "label_studio_coco_lossy")
APART = ("csv", "via", "label_studio_converted", "imagej_roi", "imagej_results")  # each file is a set of its own
NO_CLASSES = ("strict_image_x_y.csv", "Results.csv", "reef_01.roi", "reef_02.roi", "phone_04.roi")


def cases():
    for name, row in TRUTH["formats"].items():
        if name not in (*OF_PICTURES, *UNREAD):
            for file in row["files"] if name in APART else [name]:
                if not file.endswith(("_integer.roi", "_mm.csv")):
                    yield name, file


def worst(pictures, expected, names, classes=True):
    """The largest distance of an object to its true place, by the best assignment; classes must agree."""
    found = {}
    for one in pictures:
        name = str(one.image).rpartition("/")[2]
        found[names.get(name, name).rpartition(".")[0] or name] = one
    distances = [0.0]
    for image, objects in expected.items():
        if isinstance(objects, str) or (not objects and Path(image).stem not in found):
            continue  # a sentence for people; an empty picture that the format cannot say
        record = found[Path(image).stem]
        assert len(record) == len(objects), image
        if objects:
            truth = np.array([one[:2] for one in objects], float)
            table = np.abs(record.points[:, None] - truth).max(-1)
            if classes:
                table += [[1e6 * (mine != one[2]) for one in objects] for mine in record.classes]
            distances.append(table[linear_sum_assignment(table)].max())
    return max(distances)


@pytest.mark.parametrize(("name", "file"), cases(), ids=lambda value: str(value))
@pytest.mark.parametrize("point", ["box", "centroid"])
def test_objects_are_where_the_truth_says(name, file, point):
    row = TRUTH["formats"][name]
    key = "expected_bbox_centre" if point == "box" and "expected_bbox_centre" in row else "expected"
    if point == "centroid" and name in ("via_shapes", "darwin_boxes_polygons"):
        pytest.skip("the truth of these has centres of boxes")
    expected, tolerance = row[key], row["tolerance_px"]
    if name == "voc_sv":
        expected = row["expected_detectron2"]
        assert worst(read_annotations(FIELD / file), row["true_centres"], {}) <= 0.5
    if name == "imagej_roi":
        expected = {image: truth for image, truth in expected.items() if Path(image).stem in file}
    pictures = read_annotations(FIELD / file, polygon_point=point)
    classes = not file.endswith(NO_CLASSES) and name != "hf_imagefolder"  # whose classes are numbers
    assert worst(pictures, expected, row.get("image_names", {}), classes) <= tolerance


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_read_is_named(name):
    with pytest.raises(InvalidDataError):
        read_annotations(FIELD / name)


@pytest.mark.parametrize(
    "row",
    [row for row in TRUTH["variants"] if row["format"] not in (*OF_PICTURES, *UNREAD)],
    ids=lambda row: row["id"],
)
def test_a_variant_is_read_rightly_or_refused_with_its_place(row):
    path, files = FIELD / row["path"], {one.name for one in (FIELD / row["path"]).rglob("*")}
    if row["id"] == "via__via1_regions_dict":
        path /= "via1.json"
    try:
        pictures = read_annotations(path)
    except InvalidDataError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert any(name in refused for name in files)
        return
    row_of_format = TRUTH["formats"][row["format"]]
    expected = row.get("expected_bbox_centre", row.get("expected"))
    if expected is None:
        return
    if row["id"] == "cvat_images__occluded_and_unknown_label":
        # the label that the task does not list is kept, and said
        assert any("debris" in problem for problem in pictures.problems)
        expected = {image: [*objects, [*debris(pictures), "debris"]] for image, objects in expected.items()}
    classes = row["format"] not in ("imagej_results",) and row["id"] != "imagej_roi__line_and_rect"
    assert worst(pictures, expected, row_of_format.get("image_names", {}), classes) <= row_of_format["tolerance_px"]


def debris(pictures):
    (place,) = [point for point, name in zip(pictures[0].points.tolist(), pictures[0].classes) if name == "debris"]
    return place


MUST_FAIL = {
    "coco_keypoints__truncated": "keypoints.json",
    "coco_keypoints__not_multiple_of_3": "annotation 1",
    "coco_boxes_sv__negative_and_zero_size": "annotation 2",
    "coco_rle_pycocotools__size_transposed": "annotation 1",
    "coco_polygons_dm__two_parts_and_two_points": "annotation 2",
    "csv__no_header": "line 1",
    "csv__nan_blank_negative_outside": "line 15",
    "yolo__class_id_out_of_range": "line 14",
    "voc__entity_bomb": "DTD",
    "voc__reversed_and_no_size": "object 1",
    "label_studio_points__percent_over_100": "r0002",
    "labelme_points__truncated": "reef_02.json",
}


@pytest.mark.parametrize("name", MUST_FAIL)
def test_a_broken_file_is_refused_and_the_place_named(name):
    with pytest.raises(InvalidDataError, match=MUST_FAIL[name]):
        read_annotations(FIELD / "variants" / name)
