"""Files and folders that are written are whole or not there."""

import os

import pytest

from dense_hf import InvalidDataError
from dense_hf.data import new_directory, read_bytes, write_file
from dense_hf.data.files import written_together


def test_a_file_is_replaced_in_one_step(tmp_path):
    write_file(tmp_path / "a", b"old")
    write_file(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"new")]
    (tmp_path / "plain").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    write_file(tmp_path / "a", b"old")

    def full(handle):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_file(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_a_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "set"
    with new_directory(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert os.listdir(target.parent) == ["set"]
    target.joinpath("a").unlink()
    with new_directory(target) as folder:  # an empty one is as good as none
        (folder / "b").write_text("2")
    assert os.listdir(target) == ["b"]


def test_new_weights_take_the_place_of_old_ones_in_other_files(tmp_path):
    """transformers reads model.safetensors before an index, so an old one would win over new shards."""
    shards = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}
    beside = {"config.json", "model_of_mine.safetensors", "model.txt"}
    for name in beside:
        (tmp_path / name).touch()
    for names in (shards, {"model.safetensors"}, shards, {"results.json"}):
        with written_together(tmp_path) as folder:
            for name in names:
                (folder / name).touch()
    assert {path.name for path in tmp_path.iterdir()} == shards | beside | {"results.json"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_folder_leaves_nothing(tmp_path, error):
    def fill():
        with new_directory(tmp_path / "set") as folder:
            (folder / "a").write_text("1")
            raise error

    with pytest.raises(error):
        fill()
    assert not list(tmp_path.iterdir())


def test_nothing_of_the_users_is_overwritten(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    for path in (tmp_path / "full", tmp_path / "full" / "a"):
        with pytest.raises(ValueError, match="new or empty folder"), new_directory(path):
            pass
    assert os.listdir(tmp_path / "full") == ["a"]


def test_reading_is_bounded(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(InvalidDataError, match="at most 4 bytes"):
        read_bytes(tmp_path / "a", 4)
    if os.path.exists("/proc/self/status"):  # a regular file that says it has no size
        with pytest.raises(InvalidDataError, match="still growing"):
            read_bytes("/proc/self/status", 4)
