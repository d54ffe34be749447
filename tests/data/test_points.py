"""Readers and writers of point annotations, against the numbers of the released preparation and hostile files."""

import json
import os
import pickle
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dense_hf import InvalidDataError
from dense_hf.data import read_points, write_points
from dense_hf.data.points import read_coordinate

GOLDEN = json.loads((Path(__file__).parents[1] / "fixtures/iocformer/data_golden.json").read_text())


def write_xml(path, points, point="<point><x>{}</x><y>{}</y></point>"):
    objects = "".join(f"<object><name>fish</name>{point.format(*xy)}</object>" for xy in points)
    path.write_text(f"<annotation><filename>a.jpg</filename>{objects}</annotation>", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a.jpg", "b.jpg", "c.jpg"])
def test_points_are_those_of_the_released_preparation(tmp_path, name):
    height, width = GOLDEN["sizes_hw"][name]
    given_points = GOLDEN["xml_points_xy"][name]
    annotation = read_points(write_xml(tmp_path / "a.xml", given_points), image_size=(width, height))
    golden = GOLDEN[name]
    assert len(annotation) == len(annotation.points) == golden["gt_count_test"]
    assert annotation.num_dropped == len(given_points) - golden["gt_count_test"]
    assert annotation.points.dtype == np.float32
    assert annotation.points.shape == (golden["gt_count_test"], 2)
    pixels: dict = {}
    for x, y in annotation.points:
        pixels[int(y), int(x)] = pixels.get((int(y), int(x)), 0) + 1
    assert pixels == {(row, column): value for row, column, value in golden["kpoint_nonzero_rc_value"]}


def test_the_order_of_the_file_is_kept_and_decimals_are_read(tmp_path):
    path = write_xml(tmp_path / "a.xml", [("7.25", "+3"), (" 1\n", "2.5"), ("0", "-0.5"), ("9" * 99, "1")])
    annotation = read_points(path, (10, 10))
    assert annotation.points.tolist() == [[7.25, 3], [1, 2.5]]
    assert annotation.num_dropped == 2


def test_a_point_that_rounds_onto_the_border_is_outside(tmp_path):
    annotation = read_points(write_xml(tmp_path / "a.xml", [("99.99999999", "5")]), (100, 100))
    assert (len(annotation), annotation.num_dropped) == (0, 1)


def test_an_image_without_objects_is_legal(tmp_path):
    (tmp_path / "a.xml").write_text("<annotation/>")
    annotation = read_points(tmp_path / "a.xml", (5, 5))
    assert annotation.points.shape == (0, 2)
    assert annotation.num_dropped == 0


def test_objects_without_a_point_are_counted_as_dropped(tmp_path):
    (tmp_path / "a.xml").write_text(
        "<annotation><object><name>fish</name></object><object><point><x>1</x><y>2</y></point></object></annotation>"
    )
    annotation = read_points(tmp_path / "a.xml", (10, 10))
    assert annotation.points.tolist() == [[1, 2]]
    assert annotation.num_dropped == 1


HUGE_BOMB = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 9))
BAD_FILES = {
    "truncated": "<annotation><object>",
    "empty": "",
    "not XML": "x,y\n1,2\n",
    "DTD": '<!DOCTYPE annotation SYSTEM "a.dtd"><annotation/>',
    "inner DTD": "<!DOCTYPE annotation [<!ELEMENT annotation ANY>]><annotation/>",
    "entity bomb": f'<!DOCTYPE a [<!ENTITY a0 "ha">{HUGE_BOMB}]><annotation>&a8;</annotation>',
    "outer entity": '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/hostname">]><annotation>&f;</annotation>',
    "undefined entity": "<annotation>&nothing;</annotation>",
    "unknown encoding": '<?xml version="1.0" encoding="utf-7"?><annotation/>',
    "multi-byte encoding": '<?xml version="1.0" encoding="shift_jis"?><annotation/>',
    "boxes": "<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>",
    "one value": "<annotation><object><point><x>1</x></point></object></annotation>",
    "no values": "<annotation><object><point>1 2</point></object></annotation>",
    "empty value": "<annotation><object><point><x/><y>2</y></point></object></annotation>",
    "y first": "<annotation><object><point><y>1</y><x>2</x></point></object></annotation>",
    "three values": "<annotation><object><point><x>1</x><y>2</y><x>3</x></point></object></annotation>",
    "degrees": "<annotation><object><point><lat>1</lat><lon>2</lon></point></object></annotation>",
    "attributes": "<annotation><object><point x='1' y='2'/></object></annotation>",
    "markup in a value": "<annotation><object><point><x><b>1</b></x><y>2</y></point></object></annotation>",
    # all of these once were images without objects
    "a namespace": "<annotation xmlns='http://x'><object><point><x>1</x><y>2</y></point></object></annotation>",
    "CVAT": "<annotations><image name='a.jpg'><points label='fish' points='1,2'/></image></annotations>",
    "wrapped": "<root><annotation><object><point><x>1</x><y>2</y></point></object></annotation></root>",
    "another root": "<html><object><point><x>1</x><y>1</y></point></object></html>",
    "nested": "<annotation><image><object><point><x>1</x><y>2</y></point></object></image></annotation>",
    "an inclusion": "<annotation xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include href='x'/></annotation>",
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_xml_names_the_file(tmp_path, kind):
    path = tmp_path / "bad.xml"
    path.write_text(BAD_FILES[kind])
    with pytest.raises(InvalidDataError, match=r"bad\.xml: expected .* Received: "):
        read_points(path, (10, 10))


@pytest.mark.parametrize(
    "text",
    [
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e2",
        "1_000",
        "\u0661\u0662",
        "\uff11\uff12",
        "0x10",
        "1,5",
        ".5",
        "5.",
        "--1",
        "1 2",
        "9" * 400,
        "½",
        "\N{NO-BREAK SPACE}5",
        "X5",
    ],
)
def test_only_plain_ascii_decimals_are_coordinates(tmp_path, text):
    for point in ((text, "1"), ("1", text)):
        with pytest.raises(InvalidDataError, match=r"coordinates like 17 or 17\.5"):
            read_points(write_xml(tmp_path / "a.xml", [("1", "1"), point]), (10, 10))


def test_size_is_checked_before_reading(tmp_path):
    with open(tmp_path / "a.xml", "wb") as file:
        file.truncate(2**36)  # sparse: it takes no disk, and would not fit into memory
    with pytest.raises(InvalidDataError, match=r"at most 8388608 bytes\. Received: 68719476736 bytes"):
        read_points(tmp_path / "a.xml", (10, 10))


def test_what_is_not_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo.xml")
    (tmp_path / "folder.xml").mkdir()
    (tmp_path / "loop.xml").symlink_to(tmp_path / "loop.xml")
    for name in ("fifo.xml", "folder.xml", "missing.xml", "loop.xml", "nul\0.xml"):
        with pytest.raises(InvalidDataError, match=r"expected (a regular|an existing) file"):
            read_points(tmp_path / name, (10, 10))
    with pytest.raises(InvalidDataError, match="regular file"):
        read_points("/dev/zero", (10, 10))


def test_deep_nesting_is_harmless(tmp_path):
    (tmp_path / "a.xml").write_text("<a>" * 200_000 + "</a>" * 200_000)
    with pytest.raises(InvalidDataError, match="the root <a>"):
        read_points(tmp_path / "a.xml", (10, 10))


def test_the_error_travels_between_processes(tmp_path):
    with pytest.raises(InvalidDataError) as caught:
        read_points(tmp_path / "missing.xml", (10, 10))
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is InvalidDataError
    assert str(again) == str(caught.value)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=300) | st.text(alphabet="<>/aobjectpinxy&;!-[]0. \"'", max_size=200).map(str.encode))
def test_any_bytes_give_points_or_the_one_error(tmp_path, content):
    (tmp_path / "a.xml").write_bytes(content)
    try:
        annotation = read_points(tmp_path / "a.xml", (10, 10))
    except InvalidDataError:
        return
    assert np.isfinite(annotation.points).all()


sides = st.integers(1, 5000)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), width=sides, height=sides)
def test_what_is_written_is_read_back_exactly(tmp_path, data, width, height):
    coordinate = [st.floats(0, side, exclude_max=True, width=32) for side in (width, height)]
    points = data.draw(st.lists(st.tuples(*coordinate), max_size=10))
    write_points(tmp_path / "a.xml", points, "a.jpg", (width, height))
    annotation = read_points(tmp_path / "a.xml", (width, height))
    assert np.array_equal(annotation.points, np.array(points, np.float32).reshape(-1, 2))
    assert annotation.num_dropped == 0


@pytest.mark.parametrize("point", [(10, 0), (0, 10), (-1, 0), (float("nan"), 0), (0, float("inf"))])
def test_points_outside_are_not_written(tmp_path, point):
    with pytest.raises(ValueError, match="inside the image"):
        write_points(tmp_path / "a.xml", [(1, 1), point], "a.jpg", (10, 10))
    assert not list(tmp_path.iterdir())


def test_other_tools_find_the_image_and_its_size(tmp_path):
    write_points(tmp_path / "a.xml", [[1, 2]], "reef 1.jpg", (30, 20))
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert root.findtext("filename") == "reef 1.jpg"
    assert [(child.tag, child.text) for child in root.find("size")] == [
        ("width", "30"),
        ("height", "20"),
        ("depth", "3"),
    ]


@pytest.mark.parametrize(
    ("point", "message"),
    [("<y>1</y><x>2</x>", "y before x"), ("<x>1</x>", "a point with x"), ("", "no values"), ("<x/><y>1</y>", "''")],
)
def test_what_a_point_lacks_is_said(tmp_path, point, message):
    with pytest.raises(InvalidDataError, match=message):
        read_points(write_xml(tmp_path / "a.xml", [()], f"<point>{point}</point>"), (10, 10))


def test_where_a_number_stands_is_said_if_it_is_known(tmp_path):
    for where in ((), ("row 3: ",)):
        with pytest.raises(InvalidDataError) as caught:
            read_coordinate(tmp_path / "a.csv", " 1e2", *where)
        assert caught.value.received == f"{''.join(where)}' 1e2'"
    assert read_coordinate("a.csv", "\t17.5\r\n") == 17.5


def test_objects_without_points_and_unknown_tags_are_named(tmp_path):
    children = "".join(f"<k{number}/>" for number in range(12))
    path = tmp_path / "a.xml"
    path.write_text(f"<annotation><object>{children}</object></annotation>")
    with pytest.raises(InvalidDataError) as caught:
        read_points(path, (10, 10))
    ten = sorted(f"k{number}" for number in range(12))[:10]
    assert caught.value.received == f"objects with only {ten}"
    path.write_text("<annotation><object><point><x>1</x><y>2</y></point><surface/></object></annotation>")
    with pytest.raises(InvalidDataError, match=r"a\.xml.*<object> with <surface>"):
        read_points(path, (10, 10))


def test_classes_and_letters_of_any_script_are_written(tmp_path):
    write_points(tmp_path / "a.xml", [(1, 2), (3, 4)], "rév.jpg", (10, 10), ["ål", "<>"])
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert [item.findtext("name") for item in root.findall("object")] == ["ål", "<>"]
    assert "rév.jpg".encode() in (tmp_path / "a.xml").read_bytes()


def test_points_are_written_in_single_precision(tmp_path):
    """As they are read: 1 / 3 has no more digits in the file than it will have in memory."""
    write_points(tmp_path / "a.xml", np.array([(1 / 3, 2)]), "a.jpg", (10, 10))
    assert ElementTree.parse(tmp_path / "a.xml").getroot().findtext("./object/point/x") == "0.33333334"


def test_names_with_markup_are_escaped(tmp_path):
    write_points(tmp_path / "a.xml", [(1, 2)], "<&>'\".jpg", (10, 10))
    assert read_points(tmp_path / "a.xml", (10, 10)).points.tolist() == [[1, 2]]
