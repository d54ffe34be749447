"""What strangers' files may not do to readers, and the findings of tests/fuzz/fuzz.py, which stay cases for ever."""

import contextlib
import csv
import io
import json
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from stranger_files import readers, saved

from dense_hf import InvalidDataError
from dense_hf.convert import convert_original_checkpoint, read_state_dict
from dense_hf.data import read_ids
from dense_hf.data.labels import read_class_file
from dense_hf.data.weak_folder import read_labels_csv
from dense_hf.options import read_config
from dense_hf.reading import MAX_YAML_BYTES, read_bytes, read_json, read_text, read_yaml

FINDINGS = Path(__file__).parent / "fixtures" / "fuzz"


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return readers(tmp_path_factory.mktemp("strangers") / "seeds")


def test_seeds_of_fuzzing_can_be_read(known, tmp_path):
    """Or else it would look at the first lines of the readers only."""
    for reader in known.values():
        for content in reader.seeds:
            (tmp_path / reader.name).write_bytes(content)
            reader.read(tmp_path / reader.name)


@pytest.mark.parametrize("case", sorted(FINDINGS.glob("*/*")), ids=lambda case: f"{case.parent.name}-{case.name[:6]}")
def test_findings_of_fuzzing_stay_fixed(case, known, tmp_path):
    reader = known[case.parent.name]
    (tmp_path / reader.name).write_bytes(case.read_bytes())
    with contextlib.suppress(InvalidDataError):  # whose messages have a test of their own
        reader.read(tmp_path / reader.name)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


BOMB = "\n".join(
    ["a0: &a0 [x,x,x,x,x,x,x,x,x]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("model: {a: 1}\nmodel: {a: 2}", "each key once. Received: 'model' twice"),
        ("model: {a: 1, a: 2}", "each key once. Received: 'a' twice"),
        ("model: {a: 2000-99-99}", "month must be in"),
        ("model: {a: 2000-01-02}", "true, false and null. Received: a date: 2000-01-02"),
        ("model: {a: !!float abc}", "could not convert"),
        ("model: {a: !!int abc}", "invalid literal"),
        ("model: {a: !!binary abcd}", "Received: a bytes"),
        ("model: {a: " + "1" * 5000 + "}", "4300 digits"),
        ("model: " + "[" * 3000, "more than 50 brackets"),
        ("model: " + "{a: " * 3000, "more than 50 brackets"),
        ("- " * 3000 + "a", "a YAML file"),
        ("? [a, b]\n: 1", "unhashable"),
        ("model: {<<: 1}", "a YAML file"),
        ("model: &m {a: *m}", "at most 20000 values"),
        (BOMB, "at most 20000 values"),
        ("\0", "a YAML file"),
        (b"\xff\xfem\0", "UTF-8 text"),
        (" " * (MAX_YAML_BYTES + 1), "a file of at most"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
    ],
)
@pytest.mark.timeout(30)
def test_yaml_is_plain_values_or_the_one_error(tmp_path, content, words):
    path = write(tmp_path / "run.yaml", content)
    for read in (read_yaml, lambda path: read_config(path, {"model": ["a"]})):
        with pytest.raises(InvalidDataError, match=words) as raised:
            read(path)
        assert len(str(raised.value)) <= 2000


def test_merged_mappings_may_say_a_key_again(tmp_path):
    path = write(tmp_path / "run.yaml", "base: &base {a: 1, b: 2}\nmodel: {<<: *base, a: 3}")
    assert read_yaml(path)["model"] == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 1, "a": 2}', "each key once. Received: 'a' twice"),
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": ' + "1" * 5000 + "}", "digits"),
        ("[" * 100_000, "expected JSON"),
        ("[" + "0," * 500_000 + "0]", "at most 400000 values"),
        ('{"' + "a" * 10**6 + '": 1, "' + "a" * 10**6 + '": 1}', "a twice|aaa"),
        ("x" * 2**23, "at most 4194304 bytes"),
    ],
)
def test_json_is_plain_values_or_the_one_error(tmp_path, content, words):
    with pytest.raises(InvalidDataError, match=words) as raised:
        read_json(write(tmp_path / "a.json", content), 2**22)
    assert len(str(raised.value)) <= 2000


def test_numbers_of_5000_digits_in_class_files(tmp_path):
    with pytest.raises(InvalidDataError, match="digits"):
        read_class_file(write(tmp_path / "a.json", '{"a": ' + "1" * 5000 + "}"))


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "read", [lambda p: read_bytes(p, 9), lambda p: read_json(p, 9), read_yaml, read_ids, read_state_dict]
)
def test_only_regular_files_are_opened(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "pipe", "a regular file"),
        ("/dev/zero", "a regular file"),
        (tmp_path, "a regular file"),
    ):
        with pytest.raises(InvalidDataError, match=words):
            read(path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(InvalidDataError):
        read(tmp_path / "dangling")


def test_messages_are_bounded_and_obey_nobody():
    nested = ["x"] * 9
    for _ in range(40):
        nested = [nested] * 9
    for received in (
        "é" * 10**6,
        nested,
        {"a": nested},
        10**5000,
        ValueError("\U000e0001" * 10**5),
        b"\x1b[2J",
        "\ud800",
    ):
        error = InvalidDataError("a" * 10**5, "b" * 10**5, received)
        assert len(str(error)) <= 2000
        assert all(character.isprintable() for character in str(error))
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(InvalidDataError("a.csv", "x", "\x1b[31mred\x07")) == r"a.csv: expected x. Received: \x1b[31mred\x07"
    assert str(InvalidDataError("a", "b", ["c", 1.5])) == "a: expected b. Received: ['c', 1.5]"


def test_lines_of_tables_end_where_lines_end(tmp_path):
    """Neither at U+0085 nor at a vertical tab, which are control characters of a name."""
    (tmp_path / "images").mkdir()
    for text in ("image,labels\na.jpg,cat\x85b.jpg,dog\n", "image,labels\na.jpg,cat\x0bb.jpg,dog\n"):
        with pytest.raises(InvalidDataError, match="3 columns"):
            read_labels_csv(write(tmp_path / "labels.csv", text), tmp_path / "images")
    assert list(csv.reader(io.StringIO(read_text(write(tmp_path / "a", "a,b\x85c\n"), 99)))) == [["a", "b\x85c"]]


MEASURE = """
import resource, sys
from dense_hf import InvalidDataError
from dense_hf.data import read_ids
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_ids(sys.argv[1])
except InvalidDataError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_list_of_64_megabytes_takes_bounded_memory(tmp_path):
    path = write(tmp_path / "list.txt", b"".join(b"%x\n" % n for n in range(8_900_000))[: 2**26])
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    message, kilobytes = done.stdout.splitlines()
    assert "at most 1000000 ids" in message
    assert int(kilobytes) < 600_000


# checkpoints of the authors' code


def refused(path, words):
    with pytest.raises(InvalidDataError, match=words) as raised:
        convert_original_checkpoint(path, "iocformer")
    assert "weights_only" not in str(raised.value)
    assert len(str(raised.value)) <= 2000


@pytest.mark.parametrize("old", [True, False])
def test_cut_checkpoints(tmp_path, old):
    content = saved({"a": torch.arange(9.0)}, _use_new_zipfile_serialization=not old)
    for size in range(0, len(content) - 1, 23):
        refused(write(tmp_path / "a.pth", content[:size]), "written with torch.save")


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize(
    "bad", [b"c" + b"a" * 34_000 + b"\n" + b"b" * 34_000 + b"\n.", b"X\x60\xea\0\0%s)R." % (b"a" * 60_000)]
)
def test_long_words_do_not_keep_torch_busy(tmp_path, old, bad):
    """torch searches its own message in quadratic time, 100 s for these names; the time is that of the process."""
    content = io.BytesIO(saved({"a": torch.ones(1)}, _use_new_zipfile_serialization=not old))
    path = tmp_path / "a.pth"
    if old:
        for _ in range(3):
            list(pickletools.genops(content))
        path.write_bytes(content.getvalue()[: content.tell()] + bad)
    else:
        with zipfile.ZipFile(content) as source, zipfile.ZipFile(path, "w") as target:
            for entry in source.infolist():
                target.writestr(entry, bad if entry.filename.endswith("/data.pkl") else source.read(entry))
    start = time.process_time()
    with pytest.raises(InvalidDataError, match="of ordinary length"):
        read_state_dict(path)
    assert time.process_time() - start < 1


def test_tensors_that_are_no_arrays(tmp_path):
    for tensor in (
        torch.eye(3).to_sparse(),
        torch.empty(3, device="meta"),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    ):
        refused(write(tmp_path / "a.pth", saved({"dm_decoder.a": tensor})), "ordinary numbers in dm_decoder.a|as such")


def test_small_files_with_large_tensors(tmp_path):
    expanded = torch.zeros(1).expand(10**5, 10**5)
    refused(write(tmp_path / "a.pth", saved({"dm_decoder.a": expanded})), "as large as what is stored")
    shared = torch.zeros(10**5)
    refused(write(tmp_path / "a.pth", saved({f"dm_decoder.{n}": shared for n in range(50)})), "as large as")
    plain = saved({"dm_decoder.a": torch.zeros(10**6)})
    with zipfile.ZipFile(io.BytesIO(plain)) as source, zipfile.ZipFile(tmp_path / "b.pth", "w") as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry), zipfile.ZIP_DEFLATED)
    assert os.path.getsize(tmp_path / "b.pth") < 10_000
    refused(tmp_path / "b.pth", "without compression")


@pytest.mark.parametrize(
    "content",
    [
        {"input_proj.weight": torch.tensor(1.0), "dm_decoder.a": torch.zeros(1)},  # IndexError
        {3: torch.zeros(1)},
        {"input_proj.weight": torch.zeros(0), "dm_decoder.a": torch.zeros(1)},
    ],
)
@pytest.mark.parametrize("architecture", ["iocformer", "mcis", "cffm", "cffm_plus", "mrcfa", "segformer"])
def test_shapes_that_nobody_expects(tmp_path, content, architecture):
    with pytest.raises(InvalidDataError):
        convert_original_checkpoint(write(tmp_path / "a.pth", saved(content)), architecture)


def test_headers_of_safetensors_that_lie(known, tmp_path):
    """About shapes, offsets, and their own length."""
    reader = known["mcis_model"]
    (seed,) = reader.seeds
    size = struct.unpack("<Q", seed[:8])[0]
    header = json.loads(seed[8 : 8 + size])
    name = next(key for key in header if key != "__metadata__")

    def with_header(**changes):
        text = json.dumps(header | {name: header[name] | changes}).encode()
        return struct.pack("<Q", len(text)) + text + seed[8 + size :]

    for content in (
        with_header(shape=[10**9, 10**9]),
        with_header(data_offsets=[0, 10**15]),
        with_header(dtype="F999"),
        struct.pack("<Q", 2**63) + seed[8:],
        struct.pack("<Q", 10**8) + seed[8:],
    ):
        with pytest.raises(InvalidDataError, match=r"model.safetensors: expected complete weights"):
            reader.read(write(tmp_path / reader.name, content))
