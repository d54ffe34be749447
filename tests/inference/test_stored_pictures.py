"""Pictures in Parquet files, tars and stores count like the files they were made of."""

import csv
import io
import tarfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value

from dense_hf import InvalidDataError
from dense_hf.cli import main
from dense_hf.inference.stored import find_pictures, open_picture


@pytest.fixture
def photos(tmp_path, noise):
    """Five PNG files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        noise(60 + 10 * number, 50, number).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def parquet(photos, tmp_path):
    """Written by the datasets library, two rows a group."""
    cells = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(photos.iterdir())]
    features = Features({"id": Value("int64"), "picture": Image()})
    rows = Dataset.from_dict({"id": list(range(5)), "picture": cells}, features=features)
    rows.to_parquet(tmp_path / "train.parquet", batch_size=2)
    return tmp_path / "train.parquet"


@pytest.fixture
def tar(photos, tmp_path):
    """A WebDataset: pictures, and what belongs to them."""
    with tarfile.open(tmp_path / "shard-0.tar", "w") as archive:
        for path in sorted(photos.iterdir()):
            archive.add(path, f"sea/{path.name}")
            text = tarfile.TarInfo(f"sea/{path.stem}.json")
            text.size = 2
            archive.addfile(text, io.BytesIO(b"{}"))
    return tmp_path / "shard-0.tar"


@pytest.fixture
def store(photos):
    """An object store in memory."""
    files = fsspec.filesystem("memory")
    for path in photos.iterdir():
        files.pipe(f"/survey/{path.name}", path.read_bytes())
    files.pipe("/survey/notes.txt", b"wind from the east")
    yield "memory://survey"
    files.rm("/survey", recursive=True)


def test_every_place_gives_the_same_pictures(photos, parquet, tar, store):
    sources = [str(photos), str(parquet), str(tar), store]
    found, problems = find_pictures(sources)
    assert not problems
    assert [str(path) for path in found[5:]] == [
        *(f"{parquet}/{row}" for row in range(5)),
        *(f"{tar}/sea/{number}.png" for number in range(5)),
        *(f"memory:///survey/{number}.png" for number in range(5)),
    ]
    for number, picture in enumerate(found):
        assert open_picture(picture).tobytes() == open_picture(found[number % 5]).tobytes()
    # rows in any order
    assert open_picture(found[9]).size == (100, 50)
    assert open_picture(found[5]).size == (60, 50)


def test_they_are_counted_in_parts_and_resumed(photos, parquet, tar, store, counter_checkpoint, tmp_path):
    output = tmp_path / "out"
    words = ["count", str(parquet), str(tar), store, "--model", counter_checkpoint, "--output", str(output)]
    for index in (1, 2):
        assert main([*words, "--shard", f"{index}/2"]) == 0
    assert main(["merge", str(output)]) == 0
    files = ["count", str(photos), "--model", counter_checkpoint, "--output", str(tmp_path / "files"), "--no-overlays"]
    assert main(files) == 0
    rows = [list(csv.reader((folder / "counts.csv").open(newline=""))) for folder in (output, tmp_path / "files")]
    assert [row[1:] for row in rows[0][1:]] == 3 * [row[1:] for row in rows[1][1:]]
    assert (output / "overlays").is_dir()
    record = (output / "counts.jsonl").read_bytes()
    assert main([*words, "--resume"]) == 0
    assert (output / "counts.jsonl").read_bytes() == record  # nothing was counted again


def test_what_is_wrong_names_the_row(photos, tmp_path):
    cells = [(photos / "0.png").read_bytes(), b"not a picture", None]
    pq.write_table(pa.table({"image": cells}), tmp_path / "odd.parquet")
    good, bad, none = find_pictures([str(tmp_path / "odd.parquet")])[0]
    assert open_picture(good).size == (60, 50)
    with pytest.raises(InvalidDataError, match=r"odd\.parquet/1: expected a complete JPEG"):
        open_picture(bad)
    with pytest.raises(InvalidDataError, match=r"the bytes of pictures"):
        open_picture(none)
    pq.write_table(pa.table({"x": [1.5]}), tmp_path / "numbers.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    (tmp_path / "text.tar").write_text("no tar")
    for name in ("numbers.parquet", "cut.parquet", "text.tar", "absent.tar"):
        found, problems = find_pictures([str(tmp_path / name)])
        assert not found
        assert list(problems) == [str(tmp_path / name)]
    found, problems = find_pictures(["nothing://bucket/survey", "memory://nowhere/at/all"])
    assert not found
    assert len(problems) == 2
