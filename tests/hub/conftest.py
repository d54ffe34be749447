"""The stand-in for the Hub, and a small checkpoint of each model with what its pipeline finds in a picture."""

import json
import sys
from pathlib import Path

import pytest
import torch
from hub_stub import HubStub
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

from dense_hf import CFFMImageProcessor, IOCFormerImageProcessor, MCISImageProcessor, MRCFAImageProcessor

sys.path += [str(Path(__file__).parents[1] / room) for room in ("counting", "video_segmentation", "weak_segmentation")]
from tiny_cffm import tiny_model as tiny_cffm
from tiny_cffm_plus import tiny_plus
from tiny_iocformer import tiny_model as tiny_iocformer
from tiny_mcis import tiny_model as tiny_mcis
from tiny_mrcfa import tiny_model as tiny_mrcfa
from tiny_video import TINY_ENCODER

FRAME = {"shortest_edge": 64, "longest_edge": 96}
CARD = """---
library_name: transformers
model-index:
- name: small
  results:
  - task: {type: image-segmentation}
    dataset: {type: synthetic, name: synthetic}
    metrics: [{type: mean_iou, value: 0.25}]
---

Use it with `pipeline(task, model="this/repository")`.
"""


def tiny_segformer() -> SegformerForSemanticSegmentation:
    torch.manual_seed(0)
    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=5, decoder_hidden_size=16, **TINY_ENCODER))


# model, processor, task of the pipeline; a new model is one line
CHECKPOINTS = {
    "iocformer": (tiny_iocformer, IOCFormerImageProcessor(tile_size=32), "object-counting"),
    "cffm": (tiny_cffm, CFFMImageProcessor(size=FRAME), "video-semantic-segmentation"),
    "cffm_plus": (tiny_plus, CFFMImageProcessor(size=FRAME), "video-semantic-segmentation"),
    "mrcfa": (tiny_mrcfa, MRCFAImageProcessor(size=FRAME), "video-semantic-segmentation"),
    "mcis": (tiny_mcis, MCISImageProcessor(size={"height": 64, "width": 64}), "image-classification"),
    "segformer": (tiny_segformer, SegformerImageProcessor(size={"height": 64, "width": 64}), "image-segmentation"),
}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """A folder with one folder for each model, as a training script leaves it. Not to be changed."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, (make_model, processor, _) in CHECKPOINTS.items():
        make_model().save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
        (folder / name / "README.md").write_text(CARD, encoding="utf-8")
        (folder / name / "results.json").write_text(json.dumps({"mean_iou": 0.25}), encoding="utf-8")
        (folder / name / "training_args.bin").write_bytes(b"not for others")
    return folder


@pytest.fixture
def hub():
    """An empty Hub."""
    with HubStub() as stub:
        yield stub
