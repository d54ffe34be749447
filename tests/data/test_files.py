"""What a builder's cache goes by, and numbers that JSON does not have."""

import os

from dense_hf.data.files import files_digest, without_nan


def test_a_digest_changes_with_texts_names_sizes_and_times(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    os.utime(path, ns=(10**18, 10**18))
    entries = [("first", (path, None)), (2, ())]
    before = files_digest(entries)
    assert len(before) == 16
    assert set(before) <= set("0123456789abcdef")
    assert files_digest(iter(entries)) == before
    found = {before, files_digest([("second", (path, None)), (2, ())]), files_digest([("first", ()), (2, ())])}
    os.utime(path, ns=(10**18, 10**18 + 1))
    found.add(files_digest(entries))
    path.write_text("three")
    os.utime(path, ns=(10**18, 10**18))
    found.add(files_digest(entries))
    path.write_text("one")
    os.utime(path, ns=(10**18, 10**18))
    assert files_digest(entries) == before
    other = path.rename(tmp_path / "b.txt")
    found.add(files_digest([("first", (other, None)), (2, ())]))
    assert len(found) == 6
    assert files_digest(entries) == files_digest([("first", ()), (2, ())])  # the file is not there


def test_nan_becomes_null_wherever_it_is():
    nan = float("nan")
    given = {"a": nan, "b": [1.5, nan, {"c": nan}], "d": "nan", "e": 2, "f": None, "g": [True]}
    assert without_nan(given) == {"a": None, "b": [1.5, None, {"c": None}], "d": "nan", "e": 2, "f": None, "g": [True]}
    assert without_nan(0.5) == 0.5
