"""Pictures in Parquet files, tars and stores count like the files they were made of."""

import csv
import io
import tarfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value
from tiny_mcis import tiny_model

from dense_hf import InvalidDataError
from dense_hf.cli import main
from dense_hf.inference.stored import find_pictures, open_picture
from dense_hf.weak_segmentation import MCISImageProcessor


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


def content(folder):
    """Tables, and pictures by what they are called, without the records, which have seconds."""
    rows = list(csv.reader((folder / "areas.csv").open(newline="")))
    pictures = [path for path in folder.rglob("*.png") if "shards" not in path.parts]
    return [row[1:] for row in rows], {str(path.relative_to(folder)): path.read_bytes() for path in pictures}


@pytest.mark.parametrize("source", ["parquet", "tar", "store"])
def test_they_are_localized_in_parts_by_their_names(source, request, tmp_path, weak_set):
    """With labels by row, or by name with or without suffix: the masks of the files."""
    names = (weak_set / "classes.txt").read_text().split()
    tiny_model(num_labels=len(names), id2label=dict(enumerate(names))).save_pretrained(tmp_path / "mcis")
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "mcis")
    labels = tmp_path / "labels.csv"
    labels.write_text(f"image,labels\n0,{names[0]}\n1,{names[0]};{names[1]}\n2,\n4,{names[1]}\n")
    words = ["--model", str(tmp_path / "mcis"), "--labels", str(labels), "--num-references", "1", "--output"]
    photos, place = request.getfixturevalue("photos"), str(request.getfixturevalue(source))
    assert main(["localize", str(photos), *words, str(tmp_path / "files")]) == 0
    for index in (2, 1):
        assert main(["localize", place, *words, str(tmp_path / "parts"), "--shard", f"{index}/2"]) == 0
    assert main(["merge", str(tmp_path / "parts")]) == 0
    assert content(tmp_path / "parts") == content(tmp_path / "files")
    record = (tmp_path / "parts/areas.jsonl").read_bytes()
    assert main(["localize", place, *words, str(tmp_path / "parts"), "--resume"]) == 0
    assert (tmp_path / "parts/areas.jsonl").read_bytes() == record


def test_names_that_localize_cannot_use(photos, tmp_path, capsys):
    """Two of one name, an image that is not there, a name that is none."""
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for folder in "ab":
            archive.add(photos / "0.png", f"{folder}/0.png")
    with tarfile.open(tmp_path / "odd.tar", "w") as archive:
        archive.add(photos / "0.png", "a/\x07.png")
    (tmp_path / "labels.csv").write_text("image,labels\n7,person\n")
    model = ["--model", "checkpoints/mcis-crops", "--output", str(tmp_path / "out")]
    for name, words, told in (
        ("twice.tar", [], "names must differ"),
        ("odd.tar", [], "odd.tar"),
        ("twice.tar", ["--labels", str(tmp_path / "labels.csv")], "'7' is not there"),
        ("absent.tar", [], "nothing there"),
    ):
        assert main(["localize", str(tmp_path / name), *model, *words]) == 2
        assert told in capsys.readouterr().err


def test_a_folder_of_a_store_may_hold_what_holds_pictures(photos, parquet, tar):
    """As data sets of the Hub do."""
    files = fsspec.filesystem("memory")
    files.put(str(parquet), "/set/data/train.parquet")
    files.put(str(tar), "/set/data/more.tar")
    files.put(str(photos / "3.png"), "/set/a.png")
    try:
        found, problems = find_pictures(["memory://set"], recursive=True)
        assert not problems
        assert [str(one) for one in found] == [
            "memory:///set/a.png",
            *(f"memory:///set/data/more.tar/sea/{number}.png" for number in range(5)),
            *(f"memory:///set/data/train.parquet/{row}" for row in range(5)),
        ]
        for one in found[1:]:
            file = photos / f"{one.stem}.png"
            assert open_picture(one).tobytes() == open_picture(file).tobytes()
        assert [str(one) for one in find_pictures(["memory://set"])[0]] == ["memory:///set/a.png"]
    finally:
        files.rm("/set", recursive=True)


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
