"""`--push_to_hub` of every training script, against the stand-in for the Hub."""

import json

import numpy as np
import pytest
from fresh_processes import REPOSITORY, run_programs, script
from hub_stub import TOKEN, HubStub
from huggingface_hub import ModelCard
from programs import empty_home
from safetensors.torch import load as load_tensors

from dense_hf.data import (
    generate_miniature_set,
    generate_miniature_videos,
    generate_miniature_weak,
    read_weak_mask,
    read_weak_split,
)
from dense_hf.data.images import write_gray_map
from dense_hf.data.weak_source import mask_rule
from dense_hf.inference.localization_maps import map_path
from dense_hf.reports.model_card import METRIC_TYPES

VIDEO = ["--data_dir", "videos", "--max_steps", "1", "--warmup_steps", "0", "--save_steps", "1"]
COUNTING = [
    *("--data_dir", "images", "--num_train_epochs", "1", "--lr_milestones", "1", "--samples_per_image", "1"),
    *("--eval_start_epoch", "1", "--eval_every_epochs", "1", "--save_every_epochs", "1"),
]
SEGMENTER = [
    *("--data_dir", "weak", "--pseudo_labels", "weak/train/masks", "--max_steps", "1", "--save_steps", "1"),
    *("--eval_strategy", "steps", "--eval_steps", "1"),
]
WEAK = ["--data_dir", "weak", "--num_train_epochs", "1"]
AFFINITY = [*WEAK, "--maps", "maps"]
PLUS = ["--model_name_or_path", "cffm", "--prototypes", "prototypes"]
# What `train_NAME.py --config scripts/configs/NAME/smoke.yaml` needs besides for a step; a new script is one line
SCRIPTS = {
    "affinity": AFFINITY,
    "iocformer": COUNTING,
    "cffm": VIDEO,
    "cffm_plus": [*VIDEO, *PLUS],
    "mcis": WEAK,
    "mrcfa": VIDEO,
    "segformer": VIDEO,
    "deeplab": SEGMENTER,
}
CONFIGS = {"affinity": "mcis/smoke_challenge"}
SPLITS = {"mcis": "val", "affinity": None}  # that a script judges at its end, if not "validation"

LOAD = """
import sys
from transformers import AutoConfig, AutoImageProcessor, AutoModel
name, architecture = sys.argv[1:]
AutoImageProcessor.from_pretrained(name, trust_remote_code=True)
if not architecture.startswith("Segformer"):
    assert type(AutoModel.from_pretrained(name, trust_remote_code=True)).__name__ == architecture
"""


def training(name: str, *options: object):
    config = REPOSITORY / "scripts" / "configs" / f"{CONFIGS.get(name, f'{name}/smoke')}.yaml"
    words = ["--config", config, *SCRIPTS[name], "--output_dir", name, "--disable_tqdm", "true"]
    push = ["--push_to_hub", "--hub_model_id", f"tiny-{name}", "--hub_token", TOKEN]
    return script(f"scripts/train_{name}.py", *words, *push, *options)


def make_data(folder):
    generate_miniature_set(folder / "images", 2, 1, 0, image_size=(130, 110), max_objects=6, disable_progress=True)
    generate_miniature_videos(folder / "videos", 1, 1, 0, num_frames=18, frame_size=(160, 120), disable_progress=True)
    generate_miniature_weak(folder / "weak", 4, 3, 0, image_size=(48, 40), disable_progress=True)
    images = read_weak_split(folder / "weak", "train", with_masks=True)
    (folder / "maps").mkdir()
    for image in images.images:  # maps that know it all
        mask = read_weak_mask(image, mask_rule(images.class_names))
        for class_id in image.labels:
            seen = np.where(mask == class_id + 1, 255, 0).astype(np.uint8)
            write_gray_map(map_path(folder / "maps", image.name, class_id), seen)
    return folder


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """Every script has run a step and pushed; then each model was loaded by name, without dense_hf."""
    folder = make_data(tmp_path_factory.mktemp("training"))
    with HubStub() as hub:
        environment = hub.environment() | {"HF_TOKEN": ""}
        runs = run_programs({name: training(name) for name in SCRIPTS}, folder, environment)
        loads = {
            name: (LOAD, [f"someone/tiny-{name}", json.loads(files["config.json"])["architectures"][0]])
            for name in SCRIPTS
            if (files := hub.repositories["model", f"someone/tiny-{name}"].files).get("config.json")
        }
        place = tmp_path_factory.mktemp("loading")
        empty_home()
        loaded = run_programs(loads, place, hub.environment(), package=False)
    return hub, runs, loaded


# One test of all: with several, each process of pytest-xdist would run every script.
@pytest.mark.slow
@pytest.mark.smoke
def test_scripts_push_model_processor_code_card_and_results_but_no_token(pushed, subtests):
    hub, runs, loaded = pushed
    for name in SCRIPTS:
        with subtests.test(script=name):
            code, text = runs[name]
            assert code == 0, text[-3000:]
            files = hub.files(f"someone/tiny-{name}")
            assert load_tensors(files["model.safetensors"])
            assert "preprocessor_config.json" in files
            assert ("auto_map" in json.loads(files["config.json"])) == (name != "segformer")
            results = json.loads(files["results.json"])
            card = ModelCard(files["README.md"].decode())
            metrics = {metric.metric_type: metric.metric_value for metric in card.data.eval_results or ()}
            split = SPLITS.get(name, "validation")
            of_split = {METRIC_TYPES.get(key, key): value for key, value in (results[split] if split else {}).items()}
            assert metrics.items() <= of_split.items()
            assert len(metrics) > 0 or split is None
            assert results["seed"] == 1
            assert not any("checkpoint-" in path for path in files)
            assert [path for path, content in files.items() if TOKEN.encode() in content] == []
            assert loaded[name][0] == 0, loaded[name][1][-3000:]


@pytest.mark.slow
def test_a_push_that_failed_is_repeated_without_training_again(hub, tmp_path):
    """No commit comes through: neither that of a checkpoint nor the last one. Then all is well again."""
    make_data(tmp_path)
    hub.before = lambda method, path: 403 if "/commit/" in path else None
    environment = hub.environment()
    ((code, text),) = run_programs({"cffm": training("cffm")}, tmp_path, environment).values()
    assert code != 0
    assert "403" in text
    assert hub.files("someone/tiny-cffm") == {}
    trained = {name: (tmp_path / "cffm" / name).read_bytes() for name in ("model.safetensors", "results.json")}

    hub.before = lambda method, path: None
    again = {"cffm": training("cffm", "--resume_from_checkpoint", "auto")}
    ((code, text),) = run_programs(again, tmp_path, environment).values()
    assert code == 0, text[-3000:]
    files = hub.files("someone/tiny-cffm")
    assert {name: files[name] for name in trained} == trained
    assert {"README.md", "results.json", "modeling_cffm.py"} <= files.keys()
