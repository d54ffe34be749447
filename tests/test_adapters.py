"""What others put around our models works: adapters of PEFT (LoRA), and weights of 8 bits of torchao."""

import copy

import pytest
import torch
from tiny_checkpoints import CHECKPOINTS
from torch.testing import assert_close

from dense_hf.inference.checkpoints import load_model

pytestmark = pytest.mark.no_cover

PIXELS = {"iocformer": (1, 3, 32, 32), "cffm": (1, 4, 3, 64, 64), "mrcfa": (1, 4, 3, 64, 64)}
LINEAR = {"iocformer": "all-linear", "cffm": ["q_proj", "v_proj", "query"]}
SAVED = {"iocformer": None, "cffm": ["batch_norm"]}  # its means move in training, and are no parameters


def build(name):
    torch.manual_seed(0)
    model = CHECKPOINTS[name][0]().eval()
    return model, torch.randn(PIXELS[name])


def logits(model, pixels):
    with torch.no_grad():
        return model(pixel_values=pixels).logits


@pytest.mark.parametrize("name", ["iocformer", "cffm"])
def test_lora_trains_saves_loads_and_merges(name, tmp_path):
    peft = pytest.importorskip("peft")
    model, pixels = build(name)
    base, before = copy.deepcopy(model), logits(model, pixels)
    lora = peft.LoraConfig(r=2, target_modules=LINEAR[name], modules_to_save=SAVED[name])
    adapted = peft.get_peft_model(model, lora)
    assert_close(logits(adapted, pixels), before)  # an adapter begins as nothing
    learned = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=1e-2)
    adapted.train(SAVED[name] is not None)
    for _ in range(2):  # in the first step one factor is 0, so the other has no gradient
        optimizer.zero_grad()
        adapted(pixel_values=pixels).logits.square().mean().backward()
        optimizer.step()
    after = logits(adapted.eval(), pixels)
    assert (after - before).abs().max() > 1e-4
    adapted.save_pretrained(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert_close(logits(again, pixels), after)
    merged = again.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    CHECKPOINTS[name][1].save_pretrained(tmp_path / "merged")
    loaded, _ = load_model(str(tmp_path / "merged"), type(merged), "a merged model")  # strictly: nothing is left over
    assert_close(logits(loaded, pixels), after, atol=1e-4, rtol=1e-4)


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["iocformer", "cffm", "mrcfa"])
def test_weights_of_8_bits_stay_close(name):
    quantization = pytest.importorskip("torchao.quantization")
    model, pixels = build(name)
    before = logits(model, pixels)
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    kinds = {type(module.weight).__name__ for module in model.modules() if isinstance(module, torch.nn.Linear)}
    assert any("Int8" in kind or "Quantized" in kind for kind in kinds)
    after = logits(model, pixels)
    assert (after - before).abs().max() < 0.05 * (before.max() - before.min())
    assert not torch.equal(after, before)
