"""SGD with a rate per parameter, and its schedules, against closed forms and a loop written out."""

import pytest
import torch
from torch import nn

from dense_hf.training.calendar_trainer import CalendarTrainer
from dense_hf.training.sgd_arguments import SGDArguments


class Slope(nn.Module):
    """The mean of w x + b, so that gradients are known."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        nn.init.constant_(self.layer.weight, 0.5)
        nn.init.constant_(self.layer.bias, -0.25)

    def forward(self, x, labels=None):
        return {"loss": self.layer(x).mean()}


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, key):
        return {"x": torch.tensor([float(key[1])]), "labels": torch.tensor(0.0)}


class BiasArguments(SGDArguments):
    """A recipe whose biases have a rate of their own."""

    bias_factor = 1.0

    def parameter_options(self, name, in_encoder):
        factor = self.bias_factor if name.endswith("bias") else 1.0
        return {"lr": super().parameter_options(name, in_encoder)["lr"] * factor}


def make_trainer(folder, bias_factor=1.0, **arguments):
    defaults = {"learning_rate": 0.1, "num_train_epochs": 5, "per_device_train_batch_size": 2, "report_to": "none"}
    options = {"save_strategy": "no", "disable_tqdm": True, "logging_steps": 1}
    args = BiasArguments(output_dir=str(folder), head_lr_factor=1, **{**defaults, **options, **arguments})
    args.bias_factor = bias_factor
    return CalendarTrainer(model=Slope(), args=args, train_dataset=Numbers())


def rates(trainer, steps):
    trainer.create_optimizer()
    schedule = trainer.create_scheduler(steps)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr())
        trainer.optimizer.step()
        schedule.step()
    return found


def test_the_rate_drops_at_the_milestones(tmp_path):
    trainer = make_trainer(tmp_path, lr_schedule="steps", lr_milestones=[3, 1.5], lr_decay=0.5)
    assert trainer.steps_per_epoch == 2
    expected = [0.1] * 3 + [0.05] * 3 + [0.025] * 4
    assert [rate for (rate,) in rates(trainer, 10)] == pytest.approx(expected)


@pytest.mark.parametrize("power", [0.9, 1.0])
def test_poly(tmp_path, power):
    trainer = make_trainer(tmp_path, lr_power=power)
    expected = [0.1 * (1 - step / 10) ** power for step in range(10)]
    assert [rate for (rate,) in rates(trainer, 10)] == pytest.approx(expected)


def test_constant_after_a_warm_up(tmp_path):
    trainer = make_trainer(tmp_path, lr_schedule="constant", warmup_steps=4)
    expected = [0.02, 0.04, 0.06, 0.08, *[0.1] * 6]
    assert [rate for (rate,) in rates(trainer, 10)] == pytest.approx(expected)


def test_factors_make_groups_in_order_of_the_model(tmp_path):
    trainer = make_trainer(tmp_path, bias_factor=20.0, lr_power=1)
    weight, bias = zip(*rates(trainer, 10))
    assert list(weight) == pytest.approx([0.1 * (1 - step / 10) for step in range(10)])
    assert list(bias) == pytest.approx([20 * rate for rate in weight])
    assert [len(group["params"]) for group in trainer.optimizer.param_groups] == [1, 1]


def test_frozen_parameters_are_in_no_group(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.model.layer.bias.requires_grad_(False)
    assert [len(group["params"]) for group in trainer.create_optimizer().param_groups] == [1]


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_run_written_out(tmp_path, nesterov):
    """Momentum, L2 decay and the poly rule, for both parameters with rates of their own."""
    trainer = make_trainer(
        tmp_path,
        bias_factor=2.0,
        nesterov=nesterov,
        weight_decay=0.01,
        num_train_epochs=3,
    )
    w, b, momentum_w, momentum_b = 0.5, -0.25, 0.0, 0.0
    step = 0
    for epoch in range(3):
        trainer.epoch_sampler.start_epoch(epoch)
        batches = [index for _, index in trainer.epoch_sampler]
        for start in (0, 2):
            mean = sum(batches[start : start + 2]) / 2
            rate = 0.1 * (1 - step / 6) ** 0.9
            gradient_w, gradient_b = mean + 0.01 * w, 1 + 0.01 * b
            momentum_w, momentum_b = 0.9 * momentum_w + gradient_w, 0.9 * momentum_b + gradient_b
            w -= rate * (gradient_w + 0.9 * momentum_w if nesterov else momentum_w)
            b -= 2 * rate * (gradient_b + 0.9 * momentum_b if nesterov else momentum_b)
            step += 1
    trainer.train()
    assert trainer.model.layer.weight.item() == pytest.approx(w, abs=1e-5)
    assert trainer.model.layer.bias.item() == pytest.approx(b, abs=1e-5)


def test_all_problems_are_listed(tmp_path):
    with pytest.raises(ValueError, match="lr_schedule must be one of") as error:
        SGDArguments(output_dir=str(tmp_path), lr_schedule="cosine", lr_milestones=[1], momentum=1, lr_decay=0)
    for part in ("lr_milestones are for", "momentum must be at least 0 and below 1", "lr_decay must be positive"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        SGDArguments(output_dir=str(tmp_path), momentum=0, nesterov=True)
    with pytest.raises(ValueError, match="optim is fixed by the recipe"):
        SGDArguments(output_dir=str(tmp_path), optim="sgd")
