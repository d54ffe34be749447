"""Loading by Auto class, with this package imported and without it."""

import builtins

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_mcis import tiny_model
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification
from without_the_package import run_without_the_package

import dense_hf
from dense_hf import MCISConfig, MCISForImageClassification, MCISImageProcessor


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mcis")
    tiny_model(num_domains=2).save_pretrained(folder)
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForImageClassification])
def test_auto_classes_give_our_classes(checkpoint, auto_class, monkeypatch):
    def refuse(*args):
        raise AssertionError("asked for permission to run remote code")

    monkeypatch.setattr(builtins, "input", refuse)
    assert isinstance(auto_class.from_pretrained(checkpoint), MCISForImageClassification)
    processor = AutoImageProcessor.from_pretrained(checkpoint)
    assert isinstance(processor, MCISImageProcessor)
    assert dict(processor.size)["height"] == 64
    assert isinstance(AutoConfig.from_pretrained(checkpoint), MCISConfig)


def test_public_names():
    for name in dense_hf.weak_segmentation.__all__:
        assert getattr(dense_hf.weak_segmentation, name) is not None
    assert dense_hf.weak_segmentation.MCISConfig is MCISConfig
    assert set(dense_hf.weak_segmentation.__all__) <= set(dir(dense_hf.weak_segmentation))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        dense_hf.weak_segmentation.Nothing  # noqa: B018


WITHOUT_THE_PACKAGE = """
import sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel
folder, inputs, outputs = sys.argv[1:]
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
pixels = processor(load_file(inputs)["image"], return_tensors="pt")["pixel_values"]
with torch.no_grad():
    found = model(pixels, pixels.flip(-1), domains=torch.tensor([1]), paired_domains=torch.tensor([0]))
save_file({"logits": found.logits, "maps": found.co_attention_maps.contiguous()}, outputs)
"""


@pytest.mark.slow
def test_a_checkpoint_brings_its_code(checkpoint, tmp_path):
    """Same numbers in an interpreter that has transformers but not dense_hf."""
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_file({"image": image}, tmp_path / "image.safetensors")
    run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path, checkpoint, "image.safetensors", "out.safetensors")
    theirs = load_file(tmp_path / "out.safetensors")
    model = AutoModel.from_pretrained(checkpoint).eval()
    pixels = AutoImageProcessor.from_pretrained(checkpoint)(image, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        ours = model(pixels, pixels.flip(-1), domains=torch.tensor([1]), paired_domains=torch.tensor([0]))
    torch.testing.assert_close(theirs["logits"], ours.logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(theirs["maps"], ours.co_attention_maps, atol=1e-6, rtol=0)
