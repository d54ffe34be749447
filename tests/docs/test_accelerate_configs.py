"""The files of scripts/configs/accelerate, as `accelerate launch` reads them, up to where a GPU would be needed.

None of them has run on a GPU, and DeepSpeed is not installed: what is checked is that every key is known, that the
launcher accepts the file, and that the plugins come out of it as its comments say.
"""

from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from dense_hf import (
    CFFMConfig,
    CFFMForVideoSemanticSegmentation,
    CFFMPlusConfig,
    CFFMPlusForVideoSemanticSegmentation,
    IOCFormerConfig,
    IOCFormerForObjectCounting,
    MCISConfig,
    MCISForImageClassification,
    MRCFAConfig,
    MRCFAForVideoSemanticSegmentation,
)

FILES = sorted((Path(__file__).parents[2] / "scripts" / "configs" / "accelerate").glob("*.yaml"))
EXPECTED = {"multi_gpu": (4, 1), "two_nodes": (8, 2), "fsdp2": (4, 1), "deepspeed_zero2": (4, 1)}


def launch_environment(name: str) -> dict[str, str]:
    """What the processes of a launch are told."""
    (file,) = [path for path in FILES if path.stem == name]
    arguments = launch_command_parser().parse_args(["--config_file", str(file), "scripts/train_cffm.py"])
    arguments, defaults, _ = _validate_launch_command(arguments)
    assert (arguments.num_processes, arguments.num_machines) == EXPECTED[name]
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        return prepare_deepspeed_cmd_env(arguments)[1]
    return prepare_multi_gpu_env(arguments)


def test_there_is_no_other_file():
    assert {path.stem for path in FILES} == EXPECTED.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_accelerate_knows_every_key(path):
    config = load_config_from_file(str(path))  # refuses keys that it does not know
    assert (config.num_processes, config.num_machines) == EXPECTED[path.stem]
    launch_environment(path.stem)
    known = {action.dest for action in launch_command_parser()._actions}
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in [*written.get("fsdp_config", {}), *written.get("deepspeed_config", {})]:
        assert key in known, f"{key}: the launcher would ignore it"


def with_environment(monkeypatch, name: str) -> None:
    for key, value in launch_environment(name).items():
        if key.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(key, value)


def encoder() -> dict:
    return {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}


SMALL_BACKBONE = {"model_type": "timm_backbone", "backbone": "resnet10t", "out_indices": [3]}


def counter(**changes):
    config = {
        "backbone_config": SMALL_BACKBONE,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "num_queries": 5,
        "d_model": 32,
    }
    return IOCFormerForObjectCounting(
        IOCFormerConfig(**config, encoder_attention_heads=4, decoder_attention_heads=4, **changes)
    )


def segmenter(model_class, config_class, **changes):
    return model_class(config_class(encoder_config=encoder(), decoder_hidden_size=32, num_labels=5, **changes))


MODELS = {
    "iocformer": counter,
    "cltr": lambda: counter(density_branch=False),
    "density": lambda: counter(regression_branch=False),
    "cffm": lambda: segmenter(CFFMForVideoSemanticSegmentation, CFFMConfig, num_attention_heads=4),
    "cffm_plus": lambda: segmenter(CFFMPlusForVideoSemanticSegmentation, CFFMPlusConfig, num_attention_heads=4),
    "mrcfa": lambda: segmenter(MRCFAForVideoSemanticSegmentation, MRCFAConfig),
    "mcis": lambda: MCISForImageClassification(MCISConfig(num_labels=3, backbone_config=SMALL_BACKBONE)),
    "video_swin": lambda: segmenter(MRCFAForVideoSemanticSegmentation, MRCFAConfig, mining="video_swin"),
}


@pytest.mark.parametrize("name", MODELS)
def test_fsdp_finds_all_layers_that_a_model_names(monkeypatch, name):
    """It fails on a class that this configuration of a model does not have."""
    with_environment(monkeypatch, "fsdp2")
    plugin = FullyShardedDataParallelPlugin()
    model = MODELS[name]()
    plugin.set_auto_wrap_policy(model)
    wrapped = {layer.__name__ for layer in plugin.auto_wrap_policy.keywords["transformer_layer_cls"]}
    assert wrapped == set(model._no_split_modules)
    assert wrapped or name == "mcis"  # of another backbone it names nothing: one group


def test_the_plugin_of_fsdp(monkeypatch):
    with_environment(monkeypatch, "fsdp2")
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert not plugin.activation_checkpointing
    assert not plugin.cpu_ram_efficient_loading


def test_the_plugin_of_deepspeed(monkeypatch):
    with_environment(monkeypatch, "deepspeed_zero2")
    plugin = DeepSpeedPlugin()
    assert plugin.zero_stage == 2
    assert plugin.deepspeed_config["zero_optimization"]["stage"] == 2
    assert plugin.deepspeed_config["gradient_accumulation_steps"] == "auto"
    assert plugin.deepspeed_config["gradient_clipping"] == "auto"
