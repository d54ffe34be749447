"""What says whether a model looks at places: models that copy a reference, and one that looks at none."""

import json
from types import SimpleNamespace

import pytest
import torch

from dense_hf.data import generate_miniature_videos

pytestmark = pytest.mark.no_cover


@pytest.fixture
def program(script):
    return script("moved_references")


def copying(clip):
    """The label of a pixel is whether it is bright in the newest reference."""
    bright = clip[:, -2, 0]
    return SimpleNamespace(logits=torch.stack([1 - bright, bright], dim=1))


def counting(clip):
    """All pixels have one label: how bright the newest reference is."""
    return copying(clip.mean(dim=(-2, -1), keepdim=True).expand_as(clip))


def looking_at_the_target(clip):
    return copying(clip.flip(1)[:, :1].expand(-1, 2, -1, -1, -1))


@pytest.fixture
def clip():
    """The left half of references is bright, a quarter of the target."""
    clip = torch.zeros(1, 3, 3, 4, 8)
    clip[:, :2, ..., :4] = 1.0
    clip[:, 2, ..., :2] = 1.0
    return clip


@pytest.mark.parametrize(
    ("model", "whole", "lost"),
    [
        (copying, (0, 1, 0.5), (0, 1, 0.5)),
        (counting, (1, 1, 1), (1, 1, 1)),
        (looking_at_the_target, (1, 0.5, 0.75), (1, 1, 1)),
    ],
)
def test_shares(program, clip, model, whole, lost):
    found = program.look(model, clip, torch.zeros(3, 4, 8))
    assert tuple(found[f"whole_{name}"] for name in ("stay", "move", "one_label")) == whole
    assert tuple(found[f"lost_{name}"] for name in ("stay", "move", "one_label")) == lost


def test_a_table_of_two_models(program, segmenter_checkpoint, tmp_path):
    videos, output = tmp_path / "videos", tmp_path / "moved.json"
    generate_miniature_videos(videos, 0, 2, 0, num_frames=11, frame_size=(48, 36), disable_progress=True)
    models = [f"one={segmenter_checkpoint}", f"two={segmenter_checkpoint}"]
    assert program.main([str(videos), *models, "--every", "1", "--output", str(output)]) == 0
    results = json.loads(output.read_text())
    assert results["clips"] == 4
    assert results["rows"]["one"] == results["rows"]["two"]
    assert "| one | " in program.section(results)
