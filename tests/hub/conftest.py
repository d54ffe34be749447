"""The stand-in for the Hub, and folders as training scripts leave them."""

import json

import pytest
from hub_stub import HubStub
from tiny_checkpoints import CHECKPOINTS

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
