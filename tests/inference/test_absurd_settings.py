"""Whatever config.json and preprocessor_config.json say: a model, or our error, soon and in little memory."""

import json
import os
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from programs import run
from tiny_affinity import tiny_affinity_net
from tiny_checkpoints import CHECKPOINTS
from tiny_counters import TINY_COUNTERS, tiny_counter

from dense_hf import (
    AffinityNetConfig,
    AffinityNetImageProcessor,
    CFFMConfig,
    CFFMImageProcessor,
    CFFMPlusConfig,
    CounterImageProcessor,
    DeepLabLargeFOVConfig,
    IOCFormerConfig,
    IOCFormerImageProcessor,
    MCISConfig,
    MCISImageProcessor,
    MRCFAConfig,
)
from dense_hf.methods import method_of
from dense_hf.weak_segmentation.configuration_resnet38 import ResNet38Config
from dense_hf.weak_segmentation.image_processing_deeplab_largefov import DeepLabLargeFOVImageProcessor

pytestmark = pytest.mark.no_cover

HELPERS = Path(__file__).parents[1] / "helpers"
CONFIGS = [
    IOCFormerConfig,
    CFFMConfig,
    CFFMPlusConfig,
    MRCFAConfig,
    MCISConfig,
    DeepLabLargeFOVConfig,
    AffinityNetConfig,
    ResNet38Config,
    *(method_of(name).config_class for name in TINY_COUNTERS),
]
PROCESSORS = [
    IOCFormerImageProcessor,
    CFFMImageProcessor,
    MCISImageProcessor,
    DeepLabLargeFOVImageProcessor,
    AffinityNetImageProcessor,
    CounterImageProcessor,
]
NUMBERS = {
    (config, field.name): field.type
    for config in CONFIGS
    for field in fields(config)
    if any(kind in str(field.type) for kind in ("int", "float")) and "dict" not in str(field.type)
}


@pytest.mark.timeout(300)
def test_any_value_of_any_setting_is_refused_or_works(tmp_path, script_environment):
    """DENSE_HF_EXAMPLES=2000 tries more of them."""
    root = tmp_path / "checkpoints"
    for name, (make, processor, _) in CHECKPOINTS.items():
        make().save_pretrained(root / name)
        processor.save_pretrained(root / name)
    tiny_affinity_net().save_pretrained(root / "affinity")
    AffinityNetImageProcessor().save_pretrained(root / "affinity")
    for name in TINY_COUNTERS:
        tiny_counter(name).save_pretrained(root / name)
        CounterImageProcessor().save_pretrained(root / name)
    examples = os.environ.get("DENSE_HF_EXAMPLES", "150")
    command = [sys.executable, str(HELPERS / "absurd_settings.py"), str(root), examples]
    done = run(command, env=script_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["refused"] > result["ran"] > result["loaded"] > 0
    assert result["most_seconds"] < 5
    assert result["most_bytes"] < 1.5 * 2**30


@pytest.mark.parametrize("value", [10**9, -(10**9), float("nan"), float("inf"), 10**400])
@pytest.mark.parametrize(("config", "name"), NUMBERS, ids=lambda part: getattr(part, "__name__", part))
def test_every_number_of_a_configuration_has_bounds(config, name, value):
    several = "list" in str(NUMBERS[config, name])
    with pytest.raises(Exception, match=name) as raised:
        config(**{name: [value] * 4 if several else value})
    assert len(str(raised.value)) < 2000


@pytest.mark.parametrize("config", CONFIGS)
def test_bounds_say_field_bounds_and_value(config):
    message = r"num_labels must be at least 1 and at most 65,535\. Received: 1000000000"
    with pytest.raises(ValueError, match=message):
        config(num_labels=10**9)
    made = config()
    with pytest.raises(ValueError, match=message):
        made.num_labels = 10**9
    with pytest.raises(ValueError, match="to_dict is no setting"):
        config(to_dict="x")


@pytest.mark.parametrize(
    ("config", "name", "content", "words"),
    [
        (CFFMConfig, "encoder_config", {"depths": [10**6] * 4}, "depths must be at least 0 and at most 256"),
        (
            CFFMConfig,
            "encoder_config",
            {"depths": [65] * 4},
            "depths must be at least 0 and at most 256. Received: 260",
        ),
        (MRCFAConfig, "encoder_config", {"hidden_sizes": [10**6] * 4}, "hidden_sizes must be at least 1"),
        (MRCFAConfig, "encoder_config", {"strides": [0] * 4}, "strides must be at least 1"),
        (IOCFormerConfig, "backbone_config", {"model_type": "swin", "embed_dim": 10**6}, "embed_dim must be"),
        (MCISConfig, "backbone_config", {"model_type": "resnet38", "width": 10**6}, "width must be"),
        (DeepLabLargeFOVConfig, "backbone_config", {"model_type": "resnet", "depths": [10**9]}, "depths must be"),
        (AffinityNetConfig, "backbone_config", {"model_type": "swin", "window_size": 10**9}, "window_size must be"),
    ],
)
def test_encoders_and_backbones_have_bounds(config, name, content, words):
    with pytest.raises(ValueError, match=words):
        config(**{name: content})


@pytest.mark.parametrize("size", [(1440, 2560), (2160, 3840), (2160, 4096)])
def test_frames_that_people_have_are_within_the_bounds(size):
    CFFMImageProcessor(size=dict(zip(("shortest_edge", "longest_edge"), size)))
    with pytest.raises(ValueError, match="size must be at most 9,437,184 pixels"):
        CFFMImageProcessor(size={"shortest_edge": 2400, "longest_edge": 4096})


def test_tiles_may_be_as_large_as_frames():
    assert IOCFormerImageProcessor(tile_size=3072, tile_overlap=256).tile_size == 3072
    with pytest.raises(ValueError, match="tile_size must be at least 1 and at most 3,072"):
        IOCFormerImageProcessor(tile_size=3073)


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tile_layout": "x"}, "settings must be among .*Received: tile_layout"),
        ({"to_dict": 3}, "Received: to_dict"),
        ({"do_rescale": "yes"}, "do_rescale"),
        ({"image_mean": "gray"}, "image_mean"),
        ({"image_std": [0.0, 1.0, 1.0]}, "image_std must be at least 1e-12"),
        ({"rescale_factor": float("nan")}, "rescale_factor must be"),
        ({"size": {"height": 10**9, "width": 10}}, "height must be at least"),
        ({"resample": 10**9}, "resampl"),
    ],
)
def test_settings_of_image_processors_are_known_and_bounded(processor, settings, words):
    with pytest.raises(ValueError, match=words):
        processor(**settings)
    assert type(processor.from_dict(processor().to_dict())) is processor
