"""Records of runs: torn lines, other people's files, other settings, a second run, a full disk."""

import errno
import json
import os
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import Program

from dense_hf import InvalidDataError
from dense_hf.data.table_cells import cell, text_of_cell
from dense_hf.inference.appending import AppendedTable, csv_bytes, write_document
from dense_hf.inference.locks import lock_folder
from dense_hf.inference.result_folders import claim_folder
from dense_hf.inference.run_records import RunRecord, listed_files, read_line, read_record

pytestmark = pytest.mark.no_cover


def record(folder, settings=None, **options):
    return RunRecord(folder / "run.jsonl", "test", settings or {"threshold": 0.5}, files=["table.csv"], **options)


@pytest.fixture
def stopped(tmp_path):
    """A run that made `a`, and was killed while it made `b`."""
    (tmp_path / "made").mkdir()
    with record(tmp_path) as run:
        for item in "ab":
            run.begin(item, [f"made/{item}.png"])
            (tmp_path / "made" / f"{item}.png").write_text(item)
            if item == "a":
                run.add("a", [1], {"count": 3})
    (tmp_path / "table.csv").write_text("table")
    (tmp_path / "made" / ".b.png.0123456789abcdef.partial").write_text("half")
    return tmp_path


def test_every_cut_of_a_record_is_gone_on_from(stopped):
    content = (stopped / "run.jsonl").read_bytes()
    for length in range(len(content) + 1):
        (stopped / "run.jsonl").write_bytes(content[:length])
        whole = content[:length].count(b"\n")
        with record(stopped, resume=True, overwrite=whole < 1) as run:
            assert run.resumed == (whole > 0)
            assert run.result("a", [1]) == ({"count": 3} if whole > 2 else None)
            assert run.result("b", [1]) is None
            run.add("c", None, {"count": 0})
        assert all(json.loads(line) for line in (stopped / "run.jsonl").read_bytes().splitlines())
        for item in "ab":
            (stopped / "made").mkdir(exist_ok=True)
            (stopped / "made" / f"{item}.png").write_text(item)


def test_what_was_made_from_something_else_is_made_again(stopped):
    with record(stopped, resume=True) as run:
        assert run.result("a", [2]) is None
        assert not (stopped / "made" / ".b.png.0123456789abcdef.partial").exists()
        (stopped / "made" / "a.png").unlink()
        assert run.result("a", [1]) is None


def test_a_new_run_removes_what_was_listed_and_nothing_else(stopped):
    (stopped / "made" / "mine.png").write_text("mine")
    record(stopped).close()
    assert sorted(path.name for path in stopped.rglob("*")) == ["made", "mine.png", "run.jsonl", "table.csv"]


def test_items_that_are_gone_take_their_files_along(stopped):
    with record(stopped, resume=True) as run:
        run.remove_others(["a"])
    assert [path.name for path in (stopped / "made").iterdir()] == ["a.png"]


@pytest.mark.parametrize("taken", ["table.csv", "made/a.png", "run.jsonl"])
def test_other_files_are_refused_by_name(tmp_path, taken):
    (tmp_path / "made").mkdir()
    (tmp_path / taken).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for resume in (False, True):
        with pytest.raises(ValueError, match=f"{taken}.*"):
            record(tmp_path, resume=resume, reserved=["made/a.png"])
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / taken).read_text() == "mine"
    record(tmp_path, overwrite=True, reserved=["made/a.png"]).close()


def test_other_settings_are_named(stopped):
    with pytest.raises(InvalidDataError, match=r"threshold 0\.5, not 0\.7"):
        record(stopped, {"threshold": 0.7}, resume=True)
    record(stopped, {"threshold": 0.7}).close()


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.png", "made/../../outside.png"])
def test_a_record_reaches_nothing_outside_its_folder(tmp_path, name):
    (tmp_path / "outside.png").write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    header = {"made_by": "dense_hf", "command": "test", "settings": {}, "files": [name]}
    (folder / "run.jsonl").write_text(json.dumps(header) + "\n")
    assert listed_files(folder / "run.jsonl") == {folder / "run.jsonl"}
    record(folder).close()
    assert (tmp_path / "outside.png").read_text() == "mine"


def test_links_inside_are_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "made").symlink_to(tmp_path / "elsewhere")
    with record(folder) as run:
        run.begin("a", ["made/a.png"])
    record(folder).close()
    assert (tmp_path / "elsewhere" / "a.png").read_text() == "mine"


HOLD = """
import sys
from pathlib import Path
from dense_hf.inference.locks import lock_folder
from dense_hf.inference.result_folders import claim_folder
from dense_hf.inference.run_records import RunRecord
folder = Path(sys.argv[1])
held = (lock_folder(folder / "training"), claim_folder(folder / "maps", {}), RunRecord(folder / "r.jsonl", "test", {}))
print("held", flush=True)
sys.stdin.read()
"""


def test_one_run_at_a_time(tmp_path, script_environment):
    """A second run is refused while the first lives, and not by what a killed one has left."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with Program(command, env=script_environment, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        for claim in (
            lambda: lock_folder(tmp_path / "training"),
            lambda: claim_folder(tmp_path / "maps", {}),
            lambda: RunRecord(tmp_path / "r.jsonl", "test", {}, resume=True),
        ):
            with pytest.raises(InvalidDataError, match=r"no other run works with; .*in use by another process"):
                claim()
        other.kill()
    lock_folder(tmp_path / "training")
    lock_folder(tmp_path / "training")  # the same process goes on where it was
    with claim_folder(tmp_path / "maps", {}), pytest.raises(InvalidDataError, match="or --resume"):
        claim_folder(tmp_path / "maps", {}, resume=False)
    RunRecord(tmp_path / "r.jsonl", "test", {}, resume=True).close()


def full_disk(monkeypatch, room):
    """The disk takes `room` more bytes."""
    write = os.write

    def limited(descriptor, content):
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = write(descriptor, content[:room])
        room -= taken
        return taken

    monkeypatch.setattr(os, "write", limited)


@pytest.mark.parametrize("room", [0, 1, 10])
def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch, room):
    with AppendedTable(tmp_path / "t.csv", ["file", "count"], [["a", 1]]) as table, record(tmp_path) as run:
        before = (tmp_path / "run.jsonl").read_bytes()
        full_disk(monkeypatch, room)
        with pytest.raises(OSError, match="No space left"):
            table.add([["a file with a long name", 2]])
        with pytest.raises(OSError, match="No space left"):
            run.add("b", None, {"count": 2})
    assert (tmp_path / "t.csv").read_bytes() == b"file,count\r\na,1\r\n"
    assert (tmp_path / "run.jsonl").read_bytes() == before


@given(st.text(alphabet="'=+-@\t\ra1"))
def test_cells_are_no_formulas_and_come_back(text):
    assert text_of_cell(cell(text)) == text
    assert not cell(text).startswith(tuple("=+-@\t\r"))


def test_numbers_stay_numbers():
    assert csv_bytes(["=a", "n"], [["-x.png", -1.5], ["@b", 2]]) == b"'=a,n\r\n'-x.png,-1.5\r\n'@b,2\r\n"


def test_results_stay_on_the_disk(tmp_path):
    """Those of a survey are more than memory holds: 400 of 10 KB take less than 1 KB each."""
    with record(tmp_path) as run:
        tracemalloc.start()
        for number in range(400):
            run.add(f"{number}.png", [number], {"points": [number] * 3000})
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert taken < 400_000
        assert run.stored("7.png") == run.result("7.png", [7]) == {"points": [7] * 3000}
        assert run.result("7.png", [8]) is None
    with record(tmp_path, resume=True) as run:
        assert run.result("399.png", [399]) == {"points": [399] * 3000}
        run.begin("7.png", [])
        assert run.result("7.png", [7]) is None
        run.add("7.png", [7], {"points": []})
        assert len(dict(run.results())) == 400
        assert dict(run.results())["7.png"] == {"points": []}
    header, places, _ = read_record(tmp_path / "run.jsonl")
    assert header["command"] == "test"
    line = read_line(tmp_path / "run.jsonl", places["7.png"])
    assert (line["stamp"], line["result"]) == ([7], {"points": []})


@pytest.mark.parametrize("items", [[], [{"a": [1, {"b": "\n"}]}], ["x", [], {"images": []}]])
def test_a_document_that_is_written_item_by_item_is_that_of_json(items, tmp_path):
    document = {"settings": {"images": []}, "images": [], "text": '\n "images": []'}
    write_document(tmp_path / "d.json", document, "images", iter(items))
    assert (tmp_path / "d.json").read_text() == json.dumps({**document, "images": items}, indent=1)
