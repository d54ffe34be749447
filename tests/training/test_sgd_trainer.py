"""SGD with a rate per parameter: groups by name against a hand count, schedules against their formulas."""

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from tiny_mcis_runs import make_mcis_trainer

from dense_hf.training.mcis_trainer import MCISArguments
from dense_hf.training.sgd_trainer import SGDArguments

sys.path.append(str(Path(__file__).parents[1] / "weak_segmentation"))
from released_mcis import golden, meta_of, model_of
from test_released_numbers_mcis import rename


def rates_by_name(trainer):
    groups = trainer.create_optimizer().param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups)
    return {name: rates[id(parameter)] for name, parameter in trainer.model.named_parameters()}


def test_released_groups_by_a_hand_count(weak_set, tmp_path):
    """13 convolutions of VGG-16; behind it 3 and the class layer with biases; W_P, second class layer, W_B without."""
    rates = rates_by_name(make_mcis_trainer(weak_set, tmp_path, learning_rate=1e-3))
    assert len(rates) == 37
    counts = Counter((name.startswith("backbone."), name.endswith(".bias"), rate) for name, rate in rates.items())
    assert {key[:2]: (pytest.approx(key[2]), count) for key, count in counts.items()} == {
        (True, False): (1e-3, 13),
        (True, True): (2e-3, 13),
        (False, False): (1e-2, 7),
        (False, True): (2e-2, 4),
    }


def test_groups_are_those_of_the_released_code():
    """Which factor the authors' code gave to which of its tensors, under our names."""
    meta, tensors = meta_of("train_step_epoch0"), golden("train_step_epoch0")
    arguments = MCISArguments(output_dir="unused")
    factors = {
        ours: float(factor.removeprefix("lr x"))
        for factor, names in meta["groups"].items()
        for name in names
        for ours in rename({name: tensors[f"weights/{name}"]})
    }
    assert factors == {name: arguments.lr_factor(name) for name, _ in model_of(tensors).named_parameters()}


def test_optimizer_and_defaults_are_the_released_ones(weak_set, tmp_path):
    optimizer = make_mcis_trainer(weak_set, tmp_path).create_optimizer()
    assert type(optimizer) is torch.optim.SGD
    for group in optimizer.param_groups:
        assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)
    released = MCISArguments(output_dir="unused")
    assert (released.num_train_epochs, released.per_device_train_batch_size, released.learning_rate) == (15, 5, 1e-3)
    assert (released.lr_schedule, released.lr_milestones, released.lr_decay) == ("steps", [5, 10], 0.1)
    assert (released.max_grad_norm, released.eval_strategy) == (0, "no")


def rates_of_steps(trainer, steps):
    """Of the first group, as each step uses it, relative to its start without a schedule."""
    trainer.create_optimizer_and_scheduler(steps)
    rates = []
    for _ in range(steps):
        rates.append(trainer.optimizer.param_groups[-1]["lr"] / trainer.optimizer.param_groups[-1]["initial_lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    return rates


def test_steps_fall_after_their_epochs(weak_set, tmp_path):
    """8 images in batches of 3: an epoch is 3 steps."""
    trainer = make_mcis_trainer(weak_set, tmp_path, lr_milestones=[1, 2.34], num_train_epochs=4, lr_decay=0.5)
    assert trainer.steps_per_epoch == 3
    assert rates_of_steps(trainer, 12) == pytest.approx([1] * 3 + [0.5] * 4 + [0.25] * 5)


def test_every_group_falls_alike_in_a_run(weak_set, tmp_path):
    trainer = make_mcis_trainer(weak_set, tmp_path, lr_milestones=[1], num_train_epochs=2)
    trainer.train()
    logged = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert logged == pytest.approx([1e-3] * 3 + [1e-4] * 3)  # the rates that the steps have used
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    assert sorted(rates) == pytest.approx([1e-4, 2e-4, 1e-3, 2e-3])


def test_poly_and_constant(weak_set, tmp_path):
    poly = make_mcis_trainer(weak_set, tmp_path, lr_schedule="poly", lr_milestones=[], lr_power=0.9)
    assert rates_of_steps(poly, 9) == pytest.approx([(1 - step / 9) ** 0.9 for step in range(9)])
    constant = make_mcis_trainer(weak_set, tmp_path, lr_schedule="constant", lr_milestones=[], warmup_steps=3)
    assert rates_of_steps(constant, 6) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr_schedule": "cosine"}, "lr_schedule must be one of"),
        ({"lr_milestones": [3.0]}, "lr_milestones are for lr_schedule='steps'"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov needs a momentum"),
        ({"lr_decay": 0.0, "lr_power": -1.0}, "lr_decay must be positive.*lr_power must be positive"),
        ({"optim": "adamw_torch"}, "optim is fixed by the recipe"),
    ],
)
def test_impossible_arguments_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        SGDArguments(output_dir="unused", **options)
