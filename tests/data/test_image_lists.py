"""Lists of image ids: names, never paths."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dense_hf import InvalidDataError
from dense_hf.data import read_ids, split_suffix
from dense_hf.data.image_lists import ImageNames, check_name, read_split_lists


def test_ids_are_those_of_the_file_in_its_order(tmp_path):
    path = tmp_path / "train_id.txt"
    path.write_bytes("\ufeffb.jpg\r\n\n  a \nfish.2020\nñandú 3.PNG\n..hidden\nc".encode())
    assert read_ids(path) == ["b.jpg", "a", "fish.2020", "ñandú 3.PNG", "..hidden", "c"]


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg", "..", ".", "a/b.jpg", "a\\b.jpg", "/etc/passwd", "\\\\server\\share", "C:\\a.jpg", "C:a.jpg",
        "a:b", "http://x/a.jpg", "file:a.jpg", "s3://b/a", "a\0.jpg", "a\x1b[2J.jpg", "a\x85b", "a" * 300,
        "a\rb",
    ],
)  # fmt: skip
def test_what_is_not_a_plain_name_is_refused(tmp_path, name):
    path = tmp_path / "train_id.txt"
    path.write_text(f"good.jpg\n{name}\n", encoding="utf-8")
    with pytest.raises(InvalidDataError, match=r"train_id\.txt: expected names .*line 2"):
        read_ids(path)


def test_only_white_space_of_ascii_surrounds_an_id(tmp_path):
    path = tmp_path / "train_id.txt"
    path.write_text("XaX\t\n", encoding="utf-8")
    assert read_ids(path) == ["XaX"]
    path.write_text("XaX\n\N{NO-BREAK SPACE}b\n", encoding="utf-8")
    with pytest.raises(InvalidDataError, match="line 2: "):
        read_ids(path)


def test_a_list_has_a_largest_length(tmp_path, monkeypatch):
    monkeypatch.setattr("dense_hf.data.image_lists.MAX_IDS", 3)
    path = tmp_path / "train_id.txt"
    path.write_text("a\nb\nc\n")
    assert read_ids(path) == ["a", "b", "c"]
    path.write_text("a\nb\nc\nd\n")
    with pytest.raises(InvalidDataError, match="at most 3 ids"):
        read_ids(path)


def test_what_lists_of_a_folder_are_of_is_said(tmp_path):
    (tmp_path / "train.txt").write_text("a\na\n")
    with pytest.raises(InvalidDataError, match=r"train\.txt: expected each video once"):
        read_split_lists(tmp_path, {"train": "train.txt", "test": "test.txt"}, "videos", "video")


@pytest.mark.parametrize("content", ["a.jpg\nb.jpg\na.jpg\n", "a.jpg\nb\na\n", "a\nb\na.png\n"])
def test_duplicates_are_refused_with_both_lines(tmp_path, content):
    path = tmp_path / "train_id.txt"
    path.write_text(content)
    with pytest.raises(InvalidDataError, match=r"each image once.*line 3.*line 1"):
        read_ids(path)


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n", b"\xff\xfea\0", b"\xc3\x28"])
def test_empty_and_undecodable_lists_are_refused(tmp_path, content):
    path = tmp_path / "val_id.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match=r"at least one image id|UTF-8"):
        read_ids(path)


def test_what_is_not_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "train_id.txt")
    for path in (tmp_path / "train_id.txt", tmp_path, tmp_path / "missing"):
        with pytest.raises(InvalidDataError):
            read_ids(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=80))
def test_no_id_leaves_its_folder(tmp_path, text):
    path = tmp_path / "train_id.txt"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        ids = read_ids(path)
    except InvalidDataError:
        return
    for name in ids:
        assert (tmp_path / "images" / name).resolve().parent == (tmp_path / "images").resolve()
        assert len({split_suffix(other)[0] for other in ids}) == len(ids)


def test_names_as_macos_writes_them(tmp_path):
    """Accents as letters of their own, and a file of another kind beside each image."""
    decomposed, composed = "re\u0301cif", "r\u00e9cif"
    for name in (f"{decomposed}.jpg", f"._{decomposed}.jpg", "._plain.jpg"):
        (tmp_path / name).touch()
    names = ImageNames(tmp_path)
    for image_id in (composed, decomposed, f"{composed}.jpg", f"{decomposed}.jpg"):
        assert names.find(image_id) == f"{decomposed}.jpg"
    assert names.find("plain") is None
    assert names.find("._plain.jpg") is None
    assert names.find(f"{composed}.png") is None
    (tmp_path / f"{composed}.jpg").touch()  # on a file system that tells them apart
    names = ImageNames(tmp_path)
    for stem in (composed, decomposed):
        assert names.find(stem) == names.find(f"{stem}.jpg") == f"{stem}.jpg"
    (tmp_path / "a.png").touch()
    (tmp_path / "b.jpg").touch()
    names = ImageNames(tmp_path)
    assert names.all() == sorted(["a.png", "b.jpg", f"{composed}.jpg", f"{decomposed}.jpg"])
    assert names.find("a") == "a.png"
    (tmp_path / "a.jpg").touch()
    assert ImageNames(tmp_path).find("a.jpg") == "a.jpg"
    with pytest.raises(InvalidDataError, match=r"write its suffix into the list.*a\.jpg.*a\.png"):
        ImageNames(tmp_path).find("a")
    assert ImageNames(tmp_path / "none").all() == []


def test_a_suffix_is_that_of_an_image_in_any_case():
    assert split_suffix("a.b.JPEG") == ("a.b", ".JPEG")
    assert split_suffix("fish.2020") == ("fish.2020", "")
    assert split_suffix(".jpg") == (".jpg", "")


def test_names_that_no_file_can_have():
    assert check_name("list.txt", 240 * "a") == 240 * "a"
    for name in (241 * "a", 121 * "é", "a\ud800"):
        with pytest.raises(InvalidDataError, match=r"^list\.txt: .*Received: ['0-9]"):
            check_name("list.txt", name)
    with pytest.raises(InvalidDataError, match=r"Received: line 7: '\.\.'"):
        check_name("list.txt", "..", "line 7: ")
