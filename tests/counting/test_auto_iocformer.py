"""Loading by Auto class, with this package imported and without it."""

import builtins

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel, pipeline
from without_the_package import run_without_the_package

import dense_hf
from dense_hf import AutoModelForObjectCounting, IOCFormerForObjectCounting, IOCFormerImageProcessor


@pytest.fixture
def no_questions(monkeypatch):
    """Nobody may be asked whether remote code may run when the package is there."""

    def refuse(*args):
        raise AssertionError("asked for permission to run remote code")

    monkeypatch.setattr(builtins, "input", refuse)


def test_auto_classes_give_our_classes(counter_checkpoint, no_questions):
    assert isinstance(AutoModel.from_pretrained(counter_checkpoint), IOCFormerForObjectCounting)
    assert isinstance(AutoModelForObjectCounting.from_pretrained(counter_checkpoint), IOCFormerForObjectCounting)
    assert isinstance(AutoImageProcessor.from_pretrained(counter_checkpoint), IOCFormerImageProcessor)
    assert AutoConfig.from_pretrained(counter_checkpoint).model_type == "iocformer"


def test_pipeline_by_task(counter_checkpoint, no_questions, noise):
    result = pipeline("object-counting", model=counter_checkpoint)(noise(150, 100))
    assert result["count"] == len(result["points"])


def test_public_names():
    assert set(dense_hf.__all__) <= set(dir(dense_hf))
    for name in dense_hf.__all__:
        assert getattr(dense_hf, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        dense_hf.Nothing  # noqa: B018


WITHOUT_THE_PACKAGE = """
import sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, pipeline
folder, inputs, outputs = sys.argv[1:]
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
counter = pipeline("object-counting", model=folder, trust_remote_code=True)
image = load_file(inputs)["image"]
with torch.no_grad():
    logits = model(processor(image, return_tensors="pt")["pixel_values"]).logits
from PIL import Image
count = counter(Image.fromarray(image.permute(1, 2, 0).numpy()))["count"]
save_file({"logits": logits, "count": torch.tensor(count)}, outputs)
"""


@pytest.mark.slow
def test_a_checkpoint_brings_its_code(counter_checkpoint, tmp_path, noise):
    """Same logits in an interpreter that has transformers but not dense_hf."""
    counter = pipeline("object-counting", model=counter_checkpoint)
    counter.save_pretrained(tmp_path / "checkpoint")
    picture = noise(150, 100)
    image = torch.tensor(list(picture.getdata()), dtype=torch.uint8).view(100, 150, 3).permute(2, 0, 1).contiguous()
    save_file({"image": image}, tmp_path / "image.safetensors")
    run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path, "checkpoint", "image.safetensors", "out.safetensors")
    theirs = load_file(tmp_path / "out.safetensors")
    with torch.no_grad():
        ours = counter.model(counter.image_processor(image, return_tensors="pt")["pixel_values"]).logits
    torch.testing.assert_close(theirs["logits"], ours, atol=1e-6, rtol=0)
    assert theirs["count"].item() == counter(picture)["count"]
