"""A bounded cache gives what was computed, and stays within its bound."""

import gc
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_hf.weak_segmentation import FeatureCache

ITEM = 4 * 10  # bytes


def value(name: str) -> torch.Tensor:
    return torch.full((10,), float(name))


@given(names=st.lists(st.integers(0, 6).map(str), max_size=40), bound=st.integers(0, 8 * ITEM))
@settings(max_examples=60, deadline=None)
def test_bound_and_values(names, bound):
    cache, recent = FeatureCache(bound), []
    for name in names:
        computed = cache.num_computed
        assert torch.equal(cache.get(name, lambda name=name: value(name)), value(name))
        assert (cache.num_computed == computed) == (name in recent), "the least recently used leave first"
        recent = ([one for one in recent if one != name] + [name])[-(bound // ITEM) :] if bound >= ITEM else []
        assert cache.num_bytes <= bound
        assert cache.num_bytes == ITEM * len(recent)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_does_not_fit_goes_to_disk(tmp_path, dtype):
    tensors = {str(index): torch.randn(5, 4).to(dtype) for index in range(6)}
    with FeatureCache(max_bytes=50, folder=tmp_path / "new" / "folder") as cache:
        for _ in range(3):
            for name, tensor in tensors.items():
                assert torch.equal(cache.get(name, lambda tensor=tensor: tensor), tensor)
        assert cache.num_computed == 6
        files = list((tmp_path / "new" / "folder").glob("features-*/*"))
        assert 4 <= len(files) <= 6
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_names_are_not_paths(tmp_path):
    with FeatureCache(0, tmp_path / "inside") as cache:
        for name in ("../../outside", "a/b", "", "x" * 500):
            cache.get(name, lambda: torch.ones(1))
            assert torch.equal(cache.get(name, lambda: torch.zeros(1)), torch.ones(1))
        cache.close()
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_files_do_not_outlive_the_cache(tmp_path):
    cache = FeatureCache(0, tmp_path)
    cache.get("a", lambda: torch.ones(1))
    assert any(tmp_path.iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Python says that nobody closed it
        del cache
        gc.collect()
    assert not any(tmp_path.iterdir())


def test_gradients_are_not_kept():
    cache = FeatureCache()
    assert not cache.get("a", lambda: torch.ones(2, requires_grad=True) * 2).requires_grad
