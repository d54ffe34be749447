"""Options of `from_pretrained` that people use: parts of weights in several files, a device map, half precision."""

import pytest
import torch
from tiny_checkpoints import CHECKPOINTS

pytestmark = pytest.mark.no_cover


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_shards_a_device_map_and_half_precision(name, tmp_path):
    make, _, _ = CHECKPOINTS[name]
    model = make().eval()
    largest = max(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    model.save_pretrained(tmp_path, max_shard_size=largest + 1)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    expected = model.state_dict()
    placed = type(model).from_pretrained(tmp_path, device_map="auto")
    assert all(torch.equal(tensor.cpu(), expected[key]) for key, tensor in placed.state_dict().items())
    for dtype in (torch.float16, torch.bfloat16):
        half = type(model).from_pretrained(tmp_path, dtype=dtype)
        assert half.dtype == dtype
        for key, tensor in half.state_dict().items():
            torch.testing.assert_close(tensor.float(), expected[key].float(), rtol=0.01, atol=1e-6)
