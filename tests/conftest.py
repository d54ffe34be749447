"""Shared by all tests: small models of random weights, for tests of what surrounds a model."""

import signal
import subprocess
from contextlib import suppress
from importlib import import_module
from pkgutil import walk_packages

import numpy as np
import pytest
import torch
from PIL import Image

import dense_hf
from dense_hf import InvalidDataError
from dense_hf.counting.configuration_iocformer import IOCFormerConfig
from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.video_segmentation.configuration_cffm import CFFMConfig
from dense_hf.video_segmentation.image_processing_clip import CFFMImageProcessor
from dense_hf.video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation

pytest_plugins = ["training_fixtures"]


def noise_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """An RGB image of random pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def save_small_counter(folder, **changes) -> str:
    """Save a model with tiles of 64 pixels that finds something in about half of its 12 queries."""
    torch.manual_seed(0)
    config = {
        "backbone_config": {"model_type": "timm_backbone", "backbone": "resnet10t", "out_indices": [3]},
        "num_queries": 12,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "density_hidden_size": 8,
        "tile_size": 64,
    }
    model = IOCFormerForObjectCounting(IOCFormerConfig(**{**config, **changes})).eval()
    processor = IOCFormerImageProcessor(tile_size=64)
    with torch.no_grad():
        if model.config.density_branch:
            model.density_branch.density_head.bias.fill_(0.2)
        if model.config.regression_branch:
            torch.nn.init.normal_(model.class_head.weight)
            logits = model(processor(noise_picture(150, 100), return_tensors="pt")["pixel_values"]).logits
            spread = logits.std(dim=(0, 1)) / 2
            model.class_head.weight /= spread[:, None]
            model.class_head.bias.copy_((model.class_head.bias - logits.mean(dim=(0, 1))) / spread - 1)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


SEGMENTED_CLASSES = ("wall", "ground", "disc", "square", "triangle")


def make_small_segmenter(**changes) -> CFFMForVideoSemanticSegmentation:
    """A CFFM whose labels differ from place to place and from frame to frame."""
    torch.manual_seed(0)
    encoder = {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}
    config = {
        "encoder_config": encoder,
        "decoder_hidden_size": 32,
        "num_mining_layers": 1,
        "num_attention_heads": 4,
        "id2label": dict(enumerate(SEGMENTED_CLASSES)),
    }
    model = CFFMForVideoSemanticSegmentation(CFFMConfig(**{**config, **changes})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "encoder." in name:
                parameter.mul_(10)
            elif parameter.ndim > 1 and ("key_value" in name or "output" in name):
                parameter.mul_(3)
    return model


def pytest_configure(config: pytest.Config) -> None:
    """Marks that the common tests of transformers bring along. Programs that tests start heed SIGINT, also where a
    shell has started pytest in the background and by that ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for mark in (
        "accelerate_tests",
        "flash_attn_test",
        "flash_attn_3_test",
        "flash_attn_4_test",
        "generate",
        "torch_compile_test",
    ):
        config.addinivalue_line("markers", f"{mark}: set by transformers")
    for mark in ("no_cover", "xdist_group"):
        config.addinivalue_line("markers", f"{mark}: of a plugin that is not everywhere")


@pytest.hookimpl(tryfirst=True)  # before that of pytest-xdist, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For several processes of pytest: tests that share a fixture of their file stay together, as do those that share
    a stand-in for the Hub and its warm parent; and files with slow tests come first, so that none waits at the end.
    Lines are counted where most are run, since counting costs a third of the time. Of the quick tests, files whose
    lines others run have the mark themselves: 60 % of their time, 0.3 % of the lines (measured, one context a test).
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        fixtures = [one for found in item._fixtureinfo.name2fixturedefs.values() for one in found]
        if any(fixture.scope == "module" for fixture in fixtures):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
        elif item.path.parent.name == "hub" and item.path in slow:
            item.add_marker(pytest.mark.xdist_group("hub"))
        if item.get_closest_marker("slow") or item.get_closest_marker("common"):
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(scope="session", autouse=True)
def every_module(request: pytest.FixtureRequest) -> None:
    """Where lines are counted: load every module, or those first loaded by a test whose lines are not counted would
    lack their definitions; which these are differs from run to run (0.6 % of the lines)."""
    if request.config.getoption("cov_source", default=None):
        for module in walk_packages(dense_hf.__path__, "dense_hf."):
            with suppress(ImportError, SystemExit):  # of what only the Spaces have; `python -m dense_hf.cli`
                import_module(module.name)


@pytest.fixture(scope="session")
def noise():
    """`noise(width, height, seed=0)`: an image of random pixels."""
    return noise_picture


@pytest.fixture(scope="session")
def save_counter():
    """`save_counter(folder, **config)`: saves a small counting model, returns the folder."""
    return save_small_counter


@pytest.fixture(scope="session")
def counter_checkpoint(tmp_path_factory):
    """A folder with a small counting model and its processor. Not to be changed."""
    return save_small_counter(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def small_segmenter():
    """`small_segmenter(**config)`: a new, small model that segments video."""
    return make_small_segmenter


@pytest.fixture(scope="session")
def segmenter_checkpoint(tmp_path_factory):
    """A folder with a small model that segments video, and its processor for frames of 96 x 64. Not to be changed."""
    folder = tmp_path_factory.mktemp("segmenter")
    make_small_segmenter().save_pretrained(folder)
    CFFMImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def labelme_examples(tmp_path_factory):
    """The folder of examples in Debian's package labelme-examples, real photos with masks: fetched and not kept."""
    root = tmp_path_factory.mktemp("labelme")
    try:
        package = import_module("street_video").apt_download("labelme-examples", root)
    except InvalidDataError as error:
        pytest.skip(str(error))
    subprocess.run(["dpkg-deb", "-x", str(package), str(root / "package")], check=True)
    return root / "package" / "usr/share/doc/labelme-examples/examples"
