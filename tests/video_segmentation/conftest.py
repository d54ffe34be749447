"""Tests that take `tiny_model` run with each method that segments video."""

import pytest
import tiny_cffm
import tiny_mrcfa


@pytest.fixture(params=[tiny_cffm.tiny_model, tiny_mrcfa.tiny_model], ids=["cffm", "mrcfa"])
def tiny_model(request):
    """`tiny_model(seed=0, **config)`: a small model in eval mode."""
    return request.param
