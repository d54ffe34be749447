"""Loading by Auto class, with this package imported and without it."""

import builtins

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_cffm import tiny_model as tiny_cffm
from tiny_mrcfa import tiny_model as tiny_mrcfa
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation
from without_the_package import run_without_the_package

from dense_hf import (
    AutoModelForVideoSemanticSegmentation,
    CFFMConfig,
    CFFMForVideoSemanticSegmentation,
    CFFMImageProcessor,
    MRCFAConfig,
    MRCFAForVideoSemanticSegmentation,
    MRCFAImageProcessor,
)

CLASSES = {
    "cffm": (tiny_cffm, CFFMConfig, CFFMForVideoSemanticSegmentation, CFFMImageProcessor),
    "mrcfa": (tiny_mrcfa, MRCFAConfig, MRCFAForVideoSemanticSegmentation, MRCFAImageProcessor),
}


@pytest.fixture(scope="module", params=CLASSES)
def method(request):
    return request.param


@pytest.fixture(scope="module")
def checkpoint(method, tmp_path_factory):
    folder = tmp_path_factory.mktemp(method)
    tiny_model, _, _, processor = CLASSES[method]
    tiny_model().save_pretrained(folder)
    processor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    "auto_class", [AutoModel, AutoModelForSemanticSegmentation, AutoModelForVideoSemanticSegmentation]
)
def test_auto_classes_give_our_classes(method, checkpoint, auto_class, monkeypatch):
    def refuse(*args):
        raise AssertionError("asked for permission to run remote code")

    monkeypatch.setattr(builtins, "input", refuse)
    _, config, model, processor = CLASSES[method]
    assert type(auto_class.from_pretrained(checkpoint)) is model
    assert type(AutoImageProcessor.from_pretrained(checkpoint)) is processor
    assert type(AutoConfig.from_pretrained(checkpoint)) is config


WITHOUT_THE_PACKAGE = """
import sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel
folder, inputs, outputs = sys.argv[1:]
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
pixels = processor(load_file(inputs)["frames"], return_tensors="pt")["pixel_values"]
with torch.no_grad():
    logits = model(pixels).logits
session = model.new_session()
streamed = torch.stack([model.segment_frame(frame, session) for frame in pixels.unbind(1)])
save_file({"logits": logits, "streamed": streamed}, outputs)
"""


@pytest.mark.slow
def test_a_checkpoint_brings_its_code(method, checkpoint, tmp_path):
    """Same logits in an interpreter that has transformers but not dense_hf."""
    frames = torch.randint(0, 256, (4, 3, 48, 80), dtype=torch.uint8)
    save_file({"frames": frames}, tmp_path / "frames.safetensors")
    run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path, checkpoint, "frames.safetensors", "out.safetensors")
    theirs = load_file(tmp_path / "out.safetensors")
    model = CLASSES[method][2].from_pretrained(checkpoint).eval()
    pixels = CLASSES[method][3].from_pretrained(checkpoint)(frames, return_tensors="pt")["pixel_values"]
    session = model.new_session()
    with torch.no_grad():
        torch.testing.assert_close(theirs["logits"], model(pixels).logits, atol=1e-5, rtol=0)
    streamed = torch.stack([model.segment_frame(frame, session) for frame in pixels.unbind(1)])
    torch.testing.assert_close(theirs["streamed"], streamed, atol=1e-5, rtol=0)
