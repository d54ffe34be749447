"""`--shard I/N` and `dense-hf merge`: all parts together are, byte for byte, what one run gives."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_mcis import picture, tiny_model

from dense_hf import InvalidDataError
from dense_hf.cli import main
from dense_hf.inference.shards import Shard, read_shards
from dense_hf.weak_segmentation import MCISImageProcessor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shards")


@pytest.fixture(scope="module")
def photos(folder, noise):
    """Seven small photos, one of them damaged, one whose name begins like a formula, and a link to nothing."""
    photos = folder / "photos"
    (photos / "b").mkdir(parents=True)
    for number, name in enumerate(("=0.png", "1.png", "2.png", "b/3.png", "b/4.png", "b/5.png")):
        noise(70 + 10 * number, 64, number).save(photos / name)
    (photos / "b" / "4b.png").write_bytes((photos / "b" / "4.png").read_bytes()[:2000])
    (photos / "gone.png").symlink_to("nothing.png")
    return photos


@pytest.fixture(scope="module")
def whole(folder, photos, counter_checkpoint):
    """Results of a run over everything."""
    assert count(photos, folder / "whole", counter_checkpoint) == 1
    return folder / "whole"


def count(photos, output, model, *words):
    return main(["count", str(photos), "-r", "--model", model, "--output", str(output), *words])


def content(folder: Path) -> dict[str, bytes]:
    """Tables and pictures, without records, which have seconds."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if "shards" not in path.parts}


@pytest.fixture(scope="module")
def parts(folder, photos, counter_checkpoint):
    """Results of four parts, in any order."""
    for index in (3, 1, 4, 2):
        assert count(photos, folder / "parts", counter_checkpoint, "--shard", f"{index}/4") == 1  # a link to nothing
    return folder / "parts"


def test_four_parts_are_one_run(photos, whole, parts, counter_checkpoint, tmp_path):
    output = tmp_path / "parts"
    shutil.copytree(parts, output)
    tables = [path.read_bytes().count(b"\n") - 1 for path in output.glob("shards/*/counts.csv")]
    assert sum(tables) == 6
    assert max(tables) < 6
    assert main(["merge", str(output)]) == 1
    assert content(output) == content(whole)
    assert len(content(whole)) == 3 + 2 * 6
    # it is a run like any other: nothing is left to do, and it can be merged again
    results = (output / "counts.jsonl").read_text().count('"result"')
    assert count(photos, output, counter_checkpoint, "--resume") == 1
    assert (output / "counts.jsonl").read_text().count('"result"') == results == 6
    assert main(["merge", str(output)]) == 1
    assert content(output) == content(whole)


def test_a_part_that_was_stopped_goes_on(photos, whole, counter_checkpoint, tmp_path, monkeypatch):
    from dense_hf.cli import count as command

    output, count_file, done = tmp_path / "parts", command._count_file, []

    def interrupted(*words, **options):
        if done:
            raise KeyboardInterrupt
        done.append(words[0])
        return count_file(*words, **options)

    monkeypatch.setattr(command, "_count_file", interrupted)
    assert count(photos, output, counter_checkpoint, "--shard", "1/1") == 130
    assert main(["merge", str(output)]) == 2
    monkeypatch.setattr(command, "_count_file", count_file)
    assert count(photos, output, counter_checkpoint, "--shard", "1/1", "--resume") == 1
    assert main(["merge", str(output)]) == 1
    assert content(output) == content(whole)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"threshold": 0.35', '"threshold": 0.5', "differs in threshold"),
        ('"inputs": "', '"inputs": "0', "differs in inputs"),
        ('"command": "count"', '"command": "localize"', "another command"),
        ('{"made_by": "dense_hf"', '{"made_by": "others"', "record of an earlier run"),
    ],
)
def test_what_does_not_belong_together_is_refused(old, new, told, parts, tmp_path):
    shutil.copytree(parts, tmp_path / "parts")
    record = tmp_path / "parts/shards/3-of-4/counts.jsonl"
    text = record.read_text()
    assert old in text
    record.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidDataError, match=told):
        read_shards(tmp_path / "parts", "counts.jsonl")


def test_parts_that_are_missing_are_named(parts, tmp_path, capsys):
    output = tmp_path / "parts"
    assert main(["merge", str(output)]) == 2
    shutil.copytree(parts, output)
    shutil.rmtree(output / "shards/2-of-4")
    (output / "shards/4-of-4/complete.json").unlink()
    assert main(["merge", str(output)]) == 2
    assert "2 of 4 missing or not complete: 2/4, 4/4" in capsys.readouterr().err
    (output / "shards/1-of-4").rename(output / "shards/1-of-3")
    assert main(["merge", str(output)]) == 2
    assert "parts of 3, 4" in capsys.readouterr().err


def test_files_of_others_stay(parts, tmp_path):
    shutil.copytree(parts, tmp_path / "mine")
    (tmp_path / "mine/counts.csv").write_text("mine")
    assert main(["merge", str(tmp_path / "mine")]) == 2
    assert (tmp_path / "mine/counts.csv").read_text() == "mine"


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "1/4/2", "\u0661/4", "1/1000000"])
def test_shards_that_there_are_not(text, photos, counter_checkpoint, tmp_path, capsys):
    assert count(photos, tmp_path / "out", counter_checkpoint, "--shard", text) == 2
    assert "--shard" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 9))
def test_each_name_is_of_one_part(name, number):
    assert sum(Shard(index, number).takes(name) for index in range(1, number + 1)) == 1


def test_names_are_spread_evenly_and_for_ever():
    parts = [sum(Shard(index, 8).takes(f"photo-{i}.jpg") for i in range(4000)) for index in range(1, 9)]
    assert min(parts) > 400
    assert [name for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg") if Shard(1, 2).takes(name)] == FIRST_OF_TWO


FIRST_OF_TWO = ["a.jpg", "b.jpg", "d.jpg"]  # of sha256; another machine must find the same


def test_masks_of_two_parts_are_one_run(weak_set, tmp_path):
    names = (weak_set / "classes.txt").read_text().split()
    tiny_model(num_labels=len(names), id2label=dict(enumerate(names))).save_pretrained(tmp_path / "mcis")
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "mcis")
    (tmp_path / "crops").mkdir()
    for number in range(4):
        picture(number).save(tmp_path / "crops" / f"{number}.png")
    words = ["localize", str(tmp_path / "crops"), "--model", str(tmp_path / "mcis"), "--threshold", "0.5"]
    words += ["--num-references", "1", "--output"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    for index in (1, 2):
        assert main([*words, str(tmp_path / "parts"), "--shard", f"{index}/2"]) == 0
    assert main(["merge", str(tmp_path / "parts")]) == 0
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
