"""The released recipe: groups of the optimizer, the schedule, accumulation, and the configuration files."""

from pathlib import Path

import pytest
import torch
import yaml
from tiny_segmenter_runs import make_set, segmenter_sections

from dense_hf.data import read_weak_split
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checks import with_pseudo_labels
from dense_hf.training.calendar_trainer import CalendarTrainer
from dense_hf.training.run import build_processor
from dense_hf.training.segmenter.dataset import SegmenterTrainingSet
from dense_hf.training.segmenter.options import SegmenterTrainingArguments, parse_segmenter_run
from dense_hf.weak_segmentation import DeepLabLargeFOVForSemanticSegmentation

pytestmark = pytest.mark.no_cover

CONFIGS = Path(__file__).parents[3] / "scripts" / "configs" / "deeplab"


def parse(*words):
    paths = ["--data_dir", "unused", "--pseudo_labels", "unused", "--output_dir", "unused"]
    return parse_segmenter_run(arguments=[*paths, *map(str, words)])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("data"))


@pytest.fixture
def make_trainer(data, tmp_path):
    """The trainer of a tiny run; `training` are keys of that section."""

    def make(name="run", **training):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"segmenter": segmenter_sections(training=training)}))
        run = parse("--config", path, "--output_dir", tmp_path / name)
        folder = with_pseudo_labels(read_weak_split(data), data / "train" / "masks", progress=False)
        processor = build_processor(run)
        torch.manual_seed(0)
        samples = SegmenterTrainingSet(folder, processor, run.augmentation, run.training.seed, 100)
        return CalendarTrainer(
            model=DeepLabLargeFOVForSemanticSegmentation(run.config),
            args=run.training,
            train_dataset=samples,
            processing_class=processor,
        )

    return make


def test_the_groups_of_the_optimizer(make_trainer):
    """Counted by hand: the class layer maps 8 channels to 21 labels, the head has 16 * 8 * 9 and 8 * 8 weights."""
    trainer = make_trainer()
    optimizer = trainer.create_optimizer()
    assert type(optimizer) is torch.optim.SGD
    groups = {group["lr"]: sum(value.numel() for value in group["params"]) for group in optimizer.param_groups}
    # 4 bottlenecks without norms; all but the second change the width or the size, so they have a shortcut
    stem, widths = 3 * 4 * 49, [(4, 8), (8, 8), (8, 16), (16, 16)]
    bottlenecks = sum(inside * (out // 4) + 9 * (out // 4) ** 2 + (out // 4) * out for inside, out in widths)
    shortcuts = 4 * 8 + 8 * 8 + 8 * 16 + 16 * 16
    present = {name for name, _ in trainer.model.named_parameters() if "shortcut" in name}
    assert groups.keys() == {1e-3, 1e-2, 2e-2}
    assert groups[2e-2] == 21
    assert groups[1e-2] == 16 * 8 * 9 + 8 * 8 + 8 * 21
    assert groups[1e-3] == stem + bottlenecks + shortcuts
    assert len(present) == 4
    assert not any("norm" in name for name, _ in trainer.model.named_parameters())  # frozen: no parameters at all
    settings = {(g["momentum"], g["weight_decay"], g["nesterov"], g["dampening"]) for g in optimizer.param_groups}
    assert settings == {(0.9, 5e-4, False, 0)}


def test_the_poly_schedule(make_trainer):
    trainer = make_trainer(max_steps=5, save_strategy="no")
    rates = []
    step = trainer.create_optimizer().step
    trainer.optimizer.step = lambda *args, **kwargs: (
        rates.append([group["lr"] for group in trainer.optimizer.param_groups]),
        step(*args, **kwargs),
    )[1]
    trainer.train()
    expected = [[factor * 1e-3 * (1 - number / 5) ** 0.9 for factor in (1, 10, 20)] for number in range(5)]
    assert [sorted(one) for one in rates] == [pytest.approx(one) for one in expected]


def test_accumulated_images_are_a_batch(make_trainer):
    """10 images of which each counts the same, however they are split."""
    options = {"max_steps": 1, "save_strategy": "no", "learning_rate": 0.1}
    start = {key: value.clone() for key, value in make_trainer().model.state_dict().items()}
    ends = []
    for name, size, steps in (("whole", 10, 1), ("parts", 2, 5)):
        trainer = make_trainer(name, per_device_train_batch_size=size, gradient_accumulation_steps=steps, **options)
        trainer.train()
        ends.append(trainer.model.state_dict())
    moved = max(float((ends[0][key] - start[key]).abs().max()) for key in start)
    assert moved > 1e-3
    for key, value in ends[0].items():
        torch.testing.assert_close(ends[1][key], value, rtol=1e-4, atol=1e-5)


def test_frozen_norms_stay_as_they_are(make_trainer):
    trainer = make_trainer(max_steps=2, save_strategy="no")
    before = {key: value.clone() for key, value in trainer.model.named_buffers()}
    assert len(before) > 40
    trainer.train()
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.named_buffers())


@pytest.mark.parametrize("stop", [2, 3])  # an epoch has 3 steps
def test_a_resumed_run_ends_with_the_same_bits(make_trainer, same_weights, tmp_path, stop):
    make_trainer("whole").train()
    again = make_trainer("again", dataloader_num_workers=1 if stop == 3 else 0)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{stop}"))
    assert same_weights(tmp_path / "whole" / "checkpoint-6", tmp_path / "again" / "checkpoint-6")
    assert not same_weights(tmp_path / "whole" / "checkpoint-5", tmp_path / "again" / "checkpoint-6")


def test_the_released_recipe_is_the_default():
    run = parse()
    training = run.training
    assert (training.learning_rate, training.lr_schedule, training.lr_power) == (1e-3, "poly", 0.9)
    assert (training.momentum, training.nesterov, training.weight_decay) == (0.9, False, 5e-4)
    assert (training.head_lr_factor, training.class_bias_lr_factor) == (10, 20)
    assert (training.max_steps, training.per_device_train_batch_size) == (16_000, 10)
    assert (str(training.eval_strategy.value), training.max_grad_norm) == ("no", 0)
    assert (run.augmentation.crop_size, run.augmentation.horizontal_flip) == (321, 0.5)
    assert run.augmentation.scales == [0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]
    assert (run.data.eval_window, run.data.eval_stride) == (401, 267)
    assert (run.config.head, run.config.freeze_backbone_batch_norm, run.config.output_stride) == ("largefov", True, 8)
    processor = build_processor(run)
    assert list(processor.image_mean) == [104.008, 116.669, 122.675]
    assert (processor.do_flip_channel_order, processor.do_rescale) == (True, False)


def test_the_challenge_is_a_file():
    run = parse("--config", CONFIGS / "challenge.yaml")
    training = run.training
    assert run.config.head == "deeplabv3"
    assert (training.learning_rate, training.lr_schedule, training.weight_decay) == (7e-3, "poly", 1e-4)
    assert (training.max_steps, training.num_train_epochs) == (-1, 100)
    assert 8 * training.per_device_train_batch_size == 48
    assert (training.head_lr_factor, training.class_bias_lr_factor) == (1, 1)


def test_every_file_has_a_comment_and_is_a_run():
    names = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert names == {"voc", "challenge", "efficientnet", "smoke"}
    for name in names:
        assert (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")
        processor = build_processor(parse("--config", CONFIGS / f"{name}.yaml"))
        assert processor.do_rescale == (name != "smoke")


def test_the_command_line_wins_over_the_file():
    run = parse("--config", CONFIGS / "voc.yaml", "--crop_size", 65, "--do_rescale", "false", "--max_steps", 3)
    assert (run.augmentation.crop_size, run.data.do_rescale, run.training.max_steps) == (65, False, 3)
    assert run.data.do_flip_channel_order is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--image_std", 1, 0, 1), r"image_std must be three numbers above 0, received \[1.0, 0.0, 1.0\]"),
        (("--image_mean", 1), r"image_mean must be three numbers, received \[1.0\]"),
        (("--eval_stride", 500), "eval_stride must be from 1 to eval_window=401, received 500"),
        (("--image_cache_size", -1), "image_cache_size must be at least 0, received -1"),
        (
            ("--model_name_or_path", "a", "--backbone_weights", "b"),
            "backbone_weights would be ignored: ",
        ),
        (("--num_train_epochs", 4), "num_train_epochs needs max_steps=-1"),
        (("--head_lr_factor", 0), "head_lr_factor must be positive, received 0"),
    ],
)
def test_values_that_cannot_work(words, message):
    with pytest.raises(ValueError, match=message):
        parse(*words)


def test_folders_must_be_named():
    with pytest.raises(ValueError, match=r"pseudo_labels must name a folder. Received: none"):
        parse_segmenter_run(arguments=["--data_dir", "a", "--output_dir", "b"])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"data": {"crop": 3}}, r"keys in data among .*crop \(did you mean crop_size\?\)"),
        ({"model": {"head": "fcn"}}, "a model section that DeepLabLargeFOVConfig takes.*head must be 'largefov'"),
        ({"model": {"semantic_loss_ignore_index": 0}}, "keys in model among .*semantic_loss_ignore_index"),
    ],
)
def test_bad_files_are_named(part, message, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({"segmenter": part}))
    with pytest.raises(InvalidDataError, match=rf"(?s)bad.yaml.*{message}"):
        parse("--config", path)


def test_epochs_and_an_explicit_number_of_steps_are_fine():
    """A short trial of a file that counts epochs."""
    arguments = SegmenterTrainingArguments(output_dir="unused", num_train_epochs=100, max_steps=2)
    assert arguments.max_steps == 2
