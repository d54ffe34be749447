"""Checkpoints of MCNN and DSSI-Net in HDF5, as the authors' code writes them with h5py, and files that are none."""

import sys

import numpy as np
import pytest
import torch
from released_counters import golden, official_state_dict

from dense_hf import InvalidDataError, convert_original_checkpoint
from dense_hf.reading import H5_SIGNATURE


@pytest.fixture(scope="module")
def official():
    return official_state_dict(golden("mcnn_gray")[0])


@pytest.fixture
def written(tmp_path, official):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "mcnn.h5"
    with h5py.File(path, "w") as file:
        for name, tensor in official.items():
            file.create_dataset(f"DME.{name}", data=tensor.numpy())
    return path


def test_an_h5_file_is_read_as_a_torch_file_is(written, official, tmp_path):
    torch.save(official, tmp_path / "mcnn.pth")
    ours, theirs = (convert_original_checkpoint(path, "mcnn_gray") for path in (written, tmp_path / "mcnn.pth"))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in theirs.state_dict().items())


@pytest.mark.parametrize("fault", ["link", "group", "text", "external", "nan", "cut", "missing"])
def test_a_wrong_h5_file_is_named(written, fault, tmp_path):
    import h5py

    if fault == "cut":
        written.write_bytes(written.read_bytes()[:900])
    else:
        with h5py.File(written, "a") as file:
            if fault == "link":
                file["other"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/a")
            elif fault == "group":
                file.create_group("other")
            elif fault == "text":
                file["other"] = "words"
            elif fault == "external":
                (tmp_path / "raw").write_bytes(b"0" * 64)
                file.create_dataset("other", (8,), "f8", external=[(str(tmp_path / "raw"), 0, 64)])
            elif fault == "nan":
                file["DME.fuse.0.conv.bias"][...] = np.nan
            else:
                del file["DME.fuse.0.conv.bias"]
    with pytest.raises(InvalidDataError, match=r"mcnn\.h5"):
        convert_original_checkpoint(written, "mcnn_gray")


def test_without_h5py_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    path = tmp_path / "mcnn.h5"
    path.write_bytes(H5_SIGNATURE + bytes(100))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"mcnn\.h5 .*dense_hf\[h5\]"):
        convert_original_checkpoint(path, "mcnn_gray")
