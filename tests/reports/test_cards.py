"""The card of every kind of model: title, numbers of results.json, how to use it; and one without results."""

import ast
import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from transformers import PreTrainedConfig, ResNetConfig

from dense_hf.methods import VIDEO, methods
from dense_hf.reports.affinity import write_affinity_card
from dense_hf.reports.classifier import write_weak_card
from dense_hf.reports.counting import write_counting_card
from dense_hf.reports.model_card import METRIC_TYPES, RunDescription, write_results
from dense_hf.reports.segmenter import LabelSource, write_segmenter_card
from dense_hf.reports.video import backbone_name, write_video_card
from dense_hf.video_segmentation.configuration_cffm import CFFMConfig

RUN = RunDescription(
    title="A New Method",
    command="python scripts/train_new.py --config new.yaml",
    config={"model": {"depth": 2}, "data": {}, "training": {"seed": 3, "hub_token": "secret"}},
    dataset="reef",
    num_images={"train": 1200, "validation": 8},
    processes=2,
    extra_images={"web": 5},
)
EPOCHS = {"best_epoch": 3.0, "epochs": 4.0, "seed": 3}
STEPS = {"best_step": 300, "steps": 400, "seed": 3}
LABELS = LabelSource(drawn=False, description="maps", settings={"crf": True})


def write_classifier_card(folder, run):
    write_weak_card(folder, run, ("cat", "dog"), license="mit")


def write_pseudo_card(folder, run):
    write_segmenter_card(folder, run, LABELS)


# what is written, results of the run, and rows or sentences that the card has then
CARDS = {
    "counting": (
        write_counting_card,
        EPOCHS | {"validation": {"mae": 1.234, "mse": 2.0, "nae": 0.5}},
        ["| validation | 8 | 1.23 | 2.00 | 0.50 |", "after epoch 3 of 4, the best of the evaluated ones by MAE"],
    ),
    "classifier": (
        write_classifier_card,
        EPOCHS | {"val": {"num_images": 8, "mean_average_precision": 0.875, "loss": 0.25}},
        ["| val | 8 | 87.5 | 0.2500 |", "after epoch 3 of 4. Seed 3, one run.", "Classes: cat, dog."],
    ),
    "segmenter": (
        write_pseudo_card,
        STEPS
        | {
            "validation": {
                "num_images": 8,
                "mean_iou": 0.5,
                "pixel_accuracy": 0.9,
                "per_class_iou": {"cat": 0.25, "dog": None},
            }
        },
        ["| 8 images | % |", "| mIoU | 50.0 |", "| IoU of cat | 25.0 |", "| IoU of dog | - |", "crf: true"],
    ),
    "video": (
        write_video_card,
        STEPS
        | {
            "protocol": "released",
            "validation": {"num_videos": 9, "num_skipped_videos": 1, "mean_iou": 0.385, "vc8": float("nan")},
        },
        ["| validation | 8 | 38.5 | - | - | - |", "after step 300 of 400. Seed 3, one run, released protocol."],
    ),
    "affinity": (write_affinity_card, {}, ["nobody has drawn masks", "reef, and 5 images of web"]),
}


@pytest.mark.parametrize("kind", CARDS)
def test_a_card_says_what_was_run_and_what_came_out(kind, tmp_path):
    write, results, texts = CARDS[kind]
    write_results(tmp_path, results)
    write(tmp_path, RUN)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.text.lstrip().startswith("# A New Method\n\n")
    assert card.data.model_name == "A New Method"
    assert (card.data.library_name, card.data.tags[1]) == ("transformers", "dense_hf")
    for text in (*texts, RUN.command, "2 process(es), 1200 train", "depth: 2"):
        assert text in card.text
    assert "secret" not in card.content
    assert "data: {}" not in card.content
    assert "\n\n\n" not in card.text.strip()
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    numbers = results.get("validation", results.get("val", {}))
    known = {METRIC_TYPES.get(key, key): None if value != value else value for key, value in numbers.items()}
    assert measured.items() <= known.items()
    assert card.data.pipeline_tag or kind == "affinity"
    assert bool(measured) == bool(numbers)


@pytest.mark.parametrize("kind", CARDS)
def test_a_card_in_the_middle_of_a_run_has_no_numbers(kind, tmp_path):
    CARDS[kind][0](tmp_path, RUN)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.eval_results is None
    assert "These are the weights after" not in card.text
    assert kind == "affinity" or "not come to its end" in card.text


@pytest.mark.parametrize("title", [*(method.title for method in methods(VIDEO).values()), "A New Method"])
def test_code_of_video_cards_is_python_and_fits_what_the_model_can_do(title, tmp_path):
    write_video_card(tmp_path, replace(RUN, title=title))
    text = (tmp_path / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names = {node.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)}
    (model,) = [method.model_class for method in methods(VIDEO).values() if method.title == title] or [None]
    assert ("segment_frame" in names) == (model is None or hasattr(model, "segment_frame"))
    assert ("find_prototypes" in names) == hasattr(model, "find_prototypes")


@pytest.mark.parametrize("kind", CARDS)
def test_code_of_cards_is_python(kind, tmp_path):
    CARDS[kind][0](tmp_path, RUN)
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), flags=re.DOTALL)
    assert ast.parse(code).body


def test_the_tag_of_a_title():
    assert replace(RUN, title="Density branch of IOCFormer").tag == "iocformer"


def test_encoders_have_names():
    assert backbone_name(CFFMConfig.from_backbone("b2")) == "MiT-B2"
    assert backbone_name(CFFMConfig(encoder_config=ResNetConfig())) == "resnet"
    assert backbone_name(CFFMConfig(backbone_config=ResNetConfig())) == "resnet"
    timm = {"model_type": "timm_backbone", "backbone": "tf_efficientnet_lite0", "out_indices": [1, 2, 3, 4]}
    assert backbone_name(CFFMConfig(backbone_config=timm)) == "tf_efficientnet_lite0"
    assert backbone_name(PreTrainedConfig()) == "-"
