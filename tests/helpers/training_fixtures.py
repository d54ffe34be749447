"""A tiny model and a few tiny images, so that a training of a dozen steps takes a second."""

import os
import runpy
import sys
from pathlib import Path

import pytest
import torch
from programs import HOME
from safetensors.torch import load_file
from transformers import set_seed

from dense_hf.counting.configuration_iocformer import IOCFormerConfig
from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.data import generate_miniature_set, generate_miniature_videos, generate_miniature_weak
from dense_hf.data.counting_examples import read_examples
from dense_hf.inference.counts import evaluate_counting
from dense_hf.training.counting.augmentation import CountingAugmentation
from dense_hf.training.counting.dataset import CountingTrainingSet, collate_crops
from dense_hf.training.counting.options import CountingTrainingArguments
from dense_hf.training.counting.trainer import CountingTrainer

REPOSITORY = Path(__file__).parents[2]
TINY_MODEL = {
    "backbone_config": {
        "model_type": "timm_backbone",
        "backbone": "test_resnet",
        "features_only": True,
        "out_indices": [4],
    },
    "num_frozen_backbone_stages": 0,
    "tile_size": 64,
    "num_queries": 60,
    "d_model": 16,
    "density_hidden_size": 8,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 16,
}


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Sums depend on how many threads share them; the processes that tests start have one, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model():
    """Fields of `IOCFormerConfig`."""
    return dict(TINY_MODEL)


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    """6 training images, 5 for validation, 1 for test: no share of 2 processes is equal."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    generate_miniature_set(folder, 6, 5, 1, image_size=(130, 110), max_objects=12, disable_progress=True)
    return folder


@pytest.fixture(scope="session")
def make_trainer(tiny_set):
    """Build the trainer of a tiny run."""

    def make(output_dir, model_fields=None, samples_per_image=2, augmentation=None, **arguments):
        defaults = {
            "num_train_epochs": 3,
            "per_device_train_batch_size": 3,
            "learning_rate": 1e-3,
            "lr_milestones": [2],
            "eval_strategy": "no",
            "save_strategy": "no",
            "save_total_limit": None,
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
        }
        args = CountingTrainingArguments(output_dir=str(output_dir), **{**defaults, **arguments})
        config = IOCFormerConfig(**{**TINY_MODEL, **(model_fields or {})})
        processor = IOCFormerImageProcessor(tile_size=config.tile_size)
        examples = read_examples(tiny_set, ["train", "validation"], progress=False)
        set_seed(args.seed)
        train_set = CountingTrainingSet(
            examples["train"],
            processor,
            config.num_queries,
            augmentation or CountingAugmentation(),
            args.seed,
            samples_per_image,
        )
        return CountingTrainer(
            model=IOCFormerForObjectCounting(config),
            args=args,
            train_dataset=train_set,
            eval_dataset=examples["validation"],
            data_collator=collate_crops,
            processing_class=processor,
            judge=lambda model, examples, description: evaluate_counting(
                model, processor, examples, batch_size=args.eval_batch_size, progress=False, description=description
            ),
        )

    return make


def equal_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="session")
def same_weights():
    """Whether two checkpoint folders hold the same weights and the same state of Adam, bit for bit."""

    def compare(first: Path, second: Path) -> bool:
        weights = [load_file(Path(folder) / "model.safetensors") for folder in (first, second)]
        optimizers = [
            {
                f"{number}.{name}": value
                for number, state in torch.load(Path(folder) / "optimizer.pt", weights_only=True)["state"].items()
                for name, value in state.items()
            }
            for folder in (first, second)
        ]
        return equal_bits(*weights) and equal_bits(*optimizers)

    return compare


@pytest.fixture(scope="session")
def script_environment():
    """For real processes: the package from the source tree, one thread each, no network, a cache for tests alone."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), *sys.path[:1]]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": HOME,
    }


@pytest.fixture(scope="session")
def run_here():
    """Run a script in this process: saves the seconds that a new interpreter needs for its imports."""

    def run(script: str, *arguments: object) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
            runpy.run_path(str(REPOSITORY / "scripts" / script), run_name="__main__")

    return run


@pytest.fixture(scope="session")
def video_set(tmp_path_factory):
    """4 synthetic videos of 19 frames for training and 3 for validation: no share of 2 processes is equal."""
    folder = tmp_path_factory.mktemp("videos") / "set"
    generate_miniature_videos(folder, 4, 3, 0, num_frames=19, frame_size=(48, 36), disable_progress=True)
    return folder


@pytest.fixture(scope="session")
def weak_set(tmp_path_factory):
    """9 synthetic images with labels for training and 5 for validation: no share of 2 processes is equal."""
    folder = tmp_path_factory.mktemp("weak") / "set"
    generate_miniature_weak(folder, 9, 5, 0, image_size=(44, 36), disable_progress=True)
    return folder
