"""Files that lie: whatever is in one, there is a result or our error, within little time and memory."""

import json
import pickle
import random
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest

from dense_hf import InvalidDataError
from dense_hf.data.formats import InvalidAnnotationsError, read_annotations

FILES = Path(__file__).parents[2] / "fixtures" / "annotations"
SOURCES = sorted(path for path in FILES.rglob("*.[!py]*") if path.is_file() and path.stat().st_size)
DOCUMENTS = [path for path in SOURCES if path.suffix in (".json", ".geojson")]
VALUES = (
    None,
    True,
    -1,
    0,
    1e308,
    10**40,
    "",
    "nan",
    "x" * 300,
    [],
    [[]],
    {},
    {"x": 1},
    [1, "2"],
    "../../etc",
    "\x00",
)


def read(path, format=None):
    """A result or our error; anything else fails the test."""
    with suppress(InvalidDataError):
        read_annotations(path, format)


def places(value, path=()):
    """Where every value of a document is."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


def with_value(document, path, value):
    copy = json.loads(json.dumps(document))
    if not path:
        return value
    inside = copy
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return copy


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(FILES)))
def test_damaged_files(path, tmp_path):
    content, rng = path.read_bytes(), random.Random(0)
    target = tmp_path / path.name
    format = read_annotations(path, format="geojson" if path.parent.name == "geojson" else None).format
    for _ in range(25):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            if damaged:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        target.write_bytes(damaged[: rng.choice((len(damaged), rng.randint(0, len(damaged))))])
        read(target)
        read(target, format)


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.suffix in (".json", ".geojson")], ids=lambda p: p.parent.name
)
def test_any_value_at_any_place(path, tmp_path):
    document, rng = json.loads(path.read_text()), random.Random(1)
    format = read_annotations(path, format="geojson" if path.parent.name == "geojson" else None).format
    everywhere = list(places(document))
    for place in rng.sample(everywhere, min(60, len(everywhere))):
        (tmp_path / path.name).write_text(json.dumps(with_value(document, place, rng.choice(VALUES))))
        read(tmp_path / path.name, format)


BOMBS = {
    "depth.json": "[" * 100_000,
    "digits.json": '{"images": [{"id": ' + "9" * 5000 + "}]}",
    "entities.xml": '<!DOCTYPE a [<!ENTITY b "c">]><annotations><image name="&b;"/></annotations>',
    "frames.xml": "<annotations><meta><task><size>999999999</size></task></meta>"
    "<track><points frame='0' points='1,1'/></track></annotations>",
    "runs.json": '{"images": [{"id": 1, "file_name": "a"}], "categories": [], "annotations": [{"image_id": 1, '
    '"segmentation": {"size": [1, 999999999], "counts": [0, 999999999]}}]}',
    "brush.json": '[{"data": {"image": "a.png"}, "annotations": [{"result": [{"id": "a", "original_width": 99999, '
    '"original_height": 99999, "value": {"rle": [255, 255, 255, 255, 255]}}]}]}]',
    "keys.json": '{"images": [], "images": [], "annotations": []}',
    "nan.json": '{"images": [], "annotations": [NaN]}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_that_ask_for_much_work_are_refused_at_once(name, tmp_path):
    (tmp_path / name).write_text(BOMBS[name])
    started = time.process_time()
    with pytest.raises(InvalidDataError):
        read_annotations(tmp_path / name)
    assert time.process_time() - started < 2


def test_names_that_lead_outside_do_not(tmp_path):
    rows = ["../../secret/a.png,1,1", "/etc/passwd,1,1", "C:\\Windows\\b.png,1,1", "s3://bucket/c.png,1,1"]
    (tmp_path / "points.csv").write_text("\n".join(["image,x,y", *rows]))
    names = [str(picture.image) for picture in read_annotations(tmp_path / "points.csv")]
    assert names == ["secret/a.png", "etc/passwd", "Windows/b.png", "c.png"]
    for bad in ("..", "a\x00b.png", "/", "\x1b[2Ja.png"):
        (tmp_path / "points.csv").write_text(f"image,x,y\n{bad},1,1\n")
        with pytest.raises(InvalidDataError):
            read_annotations(tmp_path / "points.csv")


def test_an_error_has_all_problems_and_survives_a_pipe(tmp_path):
    (tmp_path / "points.csv").write_text("image,x,y\n" + "a.png,x,1\n" * 500)
    with pytest.raises(InvalidAnnotationsError) as caught:
        read_annotations(tmp_path / "points.csv")
    error = pickle.loads(pickle.dumps(caught.value))
    assert len(error.problems) == 500
    assert len(str(error)) <= 2000
    assert "500 that cannot" in str(error)
    assert "`dense-hf annotations check` lists all" in str(error)


def test_a_folder_of_two_formats_is_refused(tmp_path):
    shutil.copy(FILES / "labelme" / "a.json", tmp_path)
    shutil.copy(FILES / "voc_from_one" / "a.xml", tmp_path)
    with pytest.raises(InvalidDataError, match=r"labelme \(a\.json\) and voc \(a\.xml\)"):
        read_annotations(tmp_path)
    with pytest.raises(InvalidDataError, match="nothing there"):
        read_annotations(tmp_path / "gone")


@pytest.mark.parametrize("format", [None, "labelme"])
def test_json_in_another_encoding_says_which(format, tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"shapes": [], "imagePath": "a.png"}', encoding="utf-16")
    with pytest.raises(InvalidDataError, match="UTF-16; save it as UTF-8"):
        read_annotations(path, format)
