"""The recipe of MCIS: who learns how fast, from which terms of the loss; logs, evaluation, stopping and going on."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_weak_runs import make_weak_trainer
from torch.nn import functional as F

from dense_hf.data import open_image
from dense_hf.metrics.average_precision import average_precision
from dense_hf.training.classifier.augmentation import WeakAugmentation
from dense_hf.training.classifier.options import MCISTrainingArguments

pytestmark = pytest.mark.no_cover

STEPS_PER_EPOCH = 3
LAST_STEP = 3 * STEPS_PER_EPOCH


@pytest.fixture(scope="module")
def whole_run(weak_set, tmp_path_factory):
    """Saves after every step; contrastive terms from the second of three epochs on."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = make_weak_trainer(weak_set, folder)
    assert trainer.steps_per_epoch == STEPS_PER_EPOCH
    trainer.train()
    return folder, trainer


# rates


def test_rates_by_name_against_a_count_by_hand(weak_set, tmp_path):
    """13 convolutions of VGG-16; 3 of the neck, the classifier; W_P, phi of pairs and the gate have no bias."""
    trainer = make_weak_trainer(weak_set, tmp_path)
    groups = {group["lr"]: len(group["params"]) for group in trainer.create_optimizer().param_groups}
    assert groups == {1e-3: 13, 2 * 1e-3: 13, 10 * 1e-3: 3 + 1 + 3, 20 * 1e-3: 3 + 1}
    (options,) = {
        (group["momentum"], group["nesterov"], group["weight_decay"]) for group in trainer.optimizer.param_groups
    }
    assert options == (0.9, True, 5e-4)


def test_rates_over_the_released_epochs(weak_set, tmp_path):
    trainer = make_weak_trainer(weak_set, tmp_path, num_train_epochs=15, lr_milestones=[5, 10])
    trainer.create_optimizer()
    schedule = trainer.create_scheduler(15 * STEPS_PER_EPOCH)
    backbone = []
    for _ in range(15 * STEPS_PER_EPOCH):
        backbone.append(schedule.get_last_lr()[0])
        trainer.optimizer.step()
        schedule.step()
    expected = [rate for rate in (1e-3, 1e-4, 1e-5) for _ in range(5 * STEPS_PER_EPOCH)]
    assert backbone == pytest.approx(expected)


def test_defaults_are_the_released_recipe(tmp_path):
    args = MCISTrainingArguments(output_dir=str(tmp_path))
    assert (args.learning_rate, args.weight_decay, args.momentum, args.nesterov) == (1e-3, 5e-4, 0.9, True)
    assert (args.num_train_epochs, args.lr_schedule, args.lr_milestones, args.lr_decay) == (15, "steps", [5, 10], 0.1)
    assert (args.per_device_train_batch_size, args.max_grad_norm, args.eval_strategy) == (5, 0, "no")
    names = ["backbone.stages.0.0.weight", "backbone.stages.0.0.bias", "neck.0.weight", "classifier.bias"]
    assert [
        args.parameter_options(name, name.startswith("backbone."))["lr"] / args.learning_rate for name in names
    ] == pytest.approx([1, 2, 10, 20])
    with pytest.raises(ValueError, match="head_lr_factor must be positive"):
        MCISTrainingArguments(output_dir=str(tmp_path), head_lr_factor=0)


# terms


def test_every_term_is_logged_and_they_add_up(whole_run):
    logs = [entry for entry in whole_run[1].state.log_history if "loss" in entry]
    assert len(logs) == LAST_STEP
    for entry in logs:
        terms = {name: value for name, value in entry.items() if name.startswith("loss_")}
        assert entry["loss"] == pytest.approx(sum(terms.values()), rel=1e-5)
        assert 8 <= len(terms) <= 10
        assert 1 <= entry["attended_positions"] <= 64
    contrast = ["loss_contrastive" in entry or "loss_paired_contrastive" in entry for entry in logs]
    assert contrast[:STEPS_PER_EPOCH] == [False] * STEPS_PER_EPOCH
    assert any(contrast[STEPS_PER_EPOCH:])


def test_a_line_of_the_log_has_the_means_since_the_last_one(whole_run, weak_set, tmp_path):
    single = [entry for entry in whole_run[1].state.log_history if "loss" in entry]
    trainer = make_weak_trainer(weak_set, tmp_path, save_strategy="no", logging_steps=LAST_STEP)
    trainer.train()
    (entry,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    names = {name for line in single for name in line if name.startswith("loss_")}
    for name in names:
        assert entry[name] == pytest.approx(np.mean([line[name] for line in single if name in line]), rel=1e-4)


HEADS = ("classifier.weight", "common_classifier.weight", "co_attention.affinities.0.weight", "gate.weight")
MOVED = {
    "loss_basic": {"classifier.weight"},
    "loss_co_attention": {"common_classifier.weight", "co_attention.affinities.0.weight"},
    "loss_contrastive": set(HEADS[1:]),
    "loss_paired_contrastive": set(HEADS[1:]),
    "loss_view_0_basic": {"classifier.weight"},
    "loss_view_2_co_attention": {"common_classifier.weight", "co_attention.affinities.0.weight"},
}


@pytest.mark.parametrize("term", MOVED)
def test_a_term_moves_its_own_heads(weak_set, tmp_path, term):
    trainer = make_weak_trainer(
        weak_set, tmp_path, model={"contrastive_start_epoch": 0, "skip_empty_contrastive": False}
    )
    batch = trainer.data_collator([trainer.train_dataset[0, index] for index in range(9)])
    terms = trainer.model(**batch).loss_dict
    assert len(terms) == 10
    parameters = dict(trainer.model.named_parameters())
    gradients = torch.autograd.grad(terms[term], [parameters[name] for name in HEADS], allow_unused=True)
    moved = {name for name, gradient in zip(HEADS, gradients) if gradient is not None and gradient.abs().max() > 0}
    assert moved == MOVED[term]


def test_a_gate_that_nothing_trains_does_not_decay(whole_run):
    folder, _ = whole_run
    gates = [load_file(folder / f"checkpoint-{step}" / "model.safetensors")["gate.weight"] for step in range(1, 10)]
    assert torch.equal(gates[0], gates[STEPS_PER_EPOCH - 1])
    assert not torch.equal(gates[0], gates[-1])


def test_a_loss_that_is_no_number_ends_the_run(weak_set, tmp_path):
    trainer = make_weak_trainer(weak_set, tmp_path, save_strategy="no", learning_rate=1e6)
    words = r"must stay finite; a lower learning_rate .* Received: step 2, loss_basic (nan|inf), loss_co_attention"
    with pytest.raises(FloatingPointError, match=words):
        trainer.train()


# evaluation


def test_evaluation_against_images_one_by_one(whole_run):
    trainer = whole_run[1]
    metrics = trainer.evaluate()
    model, images = trainer.model, trainer.eval_dataset
    model.eval()
    logits, labels = [], torch.zeros(5, 3)
    for row, image in zip(labels, images):
        row[list(image.labels)] = 1
        with torch.no_grad():
            pixels = trainer.processing_class(open_image(image.path), return_tensors="pt")["pixel_values"]
            logits.append(model(pixels).logits[0])
    logits = torch.stack(logits)
    losses = [F.binary_cross_entropy_with_logits(*pair).item() for pair in zip(logits, labels)]
    precisions = [average_precision(logits[:, k].numpy(), labels[:, k].numpy() > 0) for k in range(3)]
    assert metrics["eval_num_images"] == 5
    assert metrics["eval_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert metrics["eval_mean_average_precision"] == pytest.approx(np.mean(precisions))


def test_the_best_epoch_can_be_kept(weak_set, tmp_path):
    trainer = make_weak_trainer(
        weak_set, tmp_path, eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True,
        metric_for_best_model="loss", greater_is_better=False,
    )  # fmt: skip
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(losses) == 3
    assert trainer.evaluate()["eval_loss"] == min(losses)
    assert trainer.state.best_global_step == STEPS_PER_EPOCH * (1 + int(np.argmin(losses)))


# stopping and going on


def test_the_test_can_fail(whole_run, weak_set, same_weights, tmp_path):
    folder, _ = whole_run
    assert not same_weights(folder / "checkpoint-8", folder / "checkpoint-9")
    other = WeakAugmentation(horizontal_flip=0.5, hue=0)
    make_weak_trainer(weak_set, tmp_path, augmentation=other, save_steps=LAST_STEP).train()
    assert not same_weights(tmp_path / "checkpoint-9", folder / "checkpoint-9")


@pytest.mark.parametrize(("stop", "workers"), [(1, 2), (3, 0), (7, 0), (7, 2)])  # 3 is the end of an epoch
def test_resumed_run_ends_with_the_same_bits(whole_run, weak_set, same_weights, tmp_path, stop, workers):
    folder, _ = whole_run
    trainer = make_weak_trainer(
        weak_set,
        tmp_path,
        save_steps=LAST_STEP,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=bool(workers) and stop == 7,
    )
    trainer.train(resume_from_checkpoint=str(folder / f"checkpoint-{stop}"))
    assert same_weights(tmp_path / "checkpoint-9", folder / "checkpoint-9")


def test_gradient_checkpointing_gives_the_same_weights(whole_run, weak_set, tmp_path):
    trainer = make_weak_trainer(weak_set, tmp_path, save_steps=LAST_STEP, gradient_checkpointing=True)
    trainer.train()
    weights = [load_file(folder / "checkpoint-9" / "model.safetensors") for folder in (tmp_path, whole_run[0])]
    assert max((weights[0][name] - weights[1][name]).abs().max() for name in weights[0]) < 1e-6


# other backbones


@pytest.mark.parametrize("freeze", [True, False])
def test_batch_norms_of_another_backbone_are_frozen_unless_told_otherwise(weak_set, tmp_path, freeze):
    backbone = {"model_type": "timm_backbone", "backbone": "test_resnet", "features_only": True, "out_indices": [2]}
    model = {"backbone_config": backbone} | ({} if freeze else {"freeze_backbone_batch_norm": False})
    trainer = make_weak_trainer(weak_set, tmp_path, model=model, save_strategy="no", max_steps=2, learning_rate=1e-5)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items() if "running" in name}
    norms = [name for name, _ in trainer.model.named_parameters() if "bn" in name]
    trainer.train()
    after = trainer.model.state_dict()
    assert len(before) > 0
    assert all(torch.equal(value, after[name]) for name, value in before.items()) == freeze
    assert (not norms) == freeze
