"""Loading CFFM++ by Auto class, with this package imported and without it."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_cffm_plus import tiny_plus
from transformers import AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation
from without_the_package import run_without_the_package

from dense_hf import (
    AutoModelForVideoSemanticSegmentation,
    CFFMImageProcessor,
    CFFMPlusConfig,
    CFFMPlusForVideoSemanticSegmentation,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cffm_plus")
    tiny_plus().save_pretrained(folder)
    CFFMImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    "auto_class", [AutoModel, AutoModelForSemanticSegmentation, AutoModelForVideoSemanticSegmentation]
)
def test_auto_classes_give_our_classes(checkpoint, auto_class):
    model = auto_class.from_pretrained(checkpoint)
    assert type(model) is CFFMPlusForVideoSemanticSegmentation
    assert type(model.config) is CFFMPlusConfig
    assert type(AutoImageProcessor.from_pretrained(checkpoint)) is CFFMImageProcessor


WITHOUT_THE_PACKAGE = """
import sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel
folder, inputs, outputs = sys.argv[1:]
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
pixels = processor(load_file(inputs)["frames"], return_tensors="pt")["pixel_values"]
prototypes = model.find_prototypes(pixels[0])[None]
session = model.new_session(prototypes)
streamed = torch.stack([model.segment_frame(frame, session) for frame in pixels.unbind(1)])
assert not any(p.requires_grad for p in model.encoder.parameters())
save_file({"prototypes": prototypes, "streamed": streamed}, outputs)
"""


@pytest.mark.slow
def test_a_checkpoint_brings_its_code(checkpoint, tmp_path):
    """Prototypes and logits are the same in an interpreter that has transformers but not dense_hf."""
    frames = torch.randint(0, 256, (4, 3, 48, 80), dtype=torch.uint8)
    save_file({"frames": frames}, tmp_path / "frames.safetensors")
    run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path, checkpoint, "frames.safetensors", "out.safetensors")
    theirs = load_file(tmp_path / "out.safetensors")
    model = CFFMPlusForVideoSemanticSegmentation.from_pretrained(checkpoint)
    pixels = CFFMImageProcessor.from_pretrained(checkpoint)(frames, return_tensors="pt")["pixel_values"]
    prototypes = model.find_prototypes(pixels[0])[None]
    torch.testing.assert_close(theirs["prototypes"], prototypes, atol=1e-5, rtol=0)
    session = model.new_session(prototypes)
    streamed = torch.stack([model.segment_frame(frame, session) for frame in pixels.unbind(1)])
    torch.testing.assert_close(theirs["streamed"], streamed, atol=1e-5, rtol=0)
