"""Tests that take `tiny_model` run with each method that segments video."""

from functools import partial

import pytest
import tiny_cffm
import tiny_mrcfa


@pytest.fixture(params=[tiny_cffm.tiny_model, tiny_mrcfa.tiny_model], ids=["cffm", "mrcfa"])
def tiny_model(request):
    """`tiny_model(seed=0, **config)`: a small model in eval mode."""
    return request.param


@pytest.fixture
def smallest_model(tiny_model):
    """The same, as small as the method goes."""
    fields = {
        tiny_cffm.tiny_model: {"num_mining_layers": 1},
        tiny_mrcfa.tiny_model: {"affinity_depth": 1, "affinity_width": 1},
    }
    return partial(tiny_model, frame_offsets=(3,), **fields[tiny_model])
