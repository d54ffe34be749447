"""A run whose numbers are not finite any more ends: with step and reason, and with its last checkpoint whole."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dense_hf.training.calendar_trainer import CalendarTrainer
from dense_hf.training.resuming import last_complete_checkpoint
from dense_hf.training.sgd_arguments import SGDArguments

pytestmark = pytest.mark.no_cover


class Breaking(nn.Module):
    """Its loss has two terms, the second of which is what the sample says."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x, labels=None):
        terms = {"loss_one": self.layer(torch.ones(1, 1)).pow(2).mean(), "loss_two": x.mean()}
        return {"loss": sum(terms.values()), "loss_dict": terms}


class Samples(torch.utils.data.Dataset):
    """Finite, but for the samples of one epoch."""

    def __init__(self, bad_epoch, value):
        self.bad_epoch, self.value = bad_epoch, value

    def __len__(self):
        return 2

    def __getitem__(self, key):
        return {"x": torch.tensor([self.value if key[0] == self.bad_epoch else 1.0]), "labels": torch.tensor(0.0)}


class Edge(Breaking):
    """Its loss is 0, where the slope of the root is infinite."""

    def forward(self, x, labels=None):
        return {"loss": torch.sqrt((self.layer.weight * 0).sum())}


def train(folder, bad_epoch=None, value=float("nan"), model=Breaking, **arguments):
    options = {"num_train_epochs": 4, "per_device_train_batch_size": 1, "report_to": "none", "disable_tqdm": True}
    options |= {"save_strategy": "steps", "save_steps": 2, "logging_steps": 100, "learning_rate": 0.01}
    args = SGDArguments(output_dir=str(folder), head_lr_factor=1, **{**options, **arguments})
    trainer = CalendarTrainer(model=model(), args=args, train_dataset=Samples(bad_epoch, value))
    trainer.train()
    return trainer


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("logging_steps", [1, 100])
def test_the_step_the_terms_and_the_rate_are_named(tmp_path, value, logging_steps):
    """Epoch 2 has steps 5 and 6; checkpoints are of steps 2 and 4."""
    with pytest.raises(
        FloatingPointError, match=rf"step 5, loss_one [0-9.e-]+, loss_two {value:g}, learning rate 0\.00"
    ):
        train(tmp_path, 2, value, logging_steps=logging_steps)
    last = last_complete_checkpoint(tmp_path)
    assert last.name == "checkpoint-4"
    assert all(torch.isfinite(tensor).all() for tensor in load_file(last / "model.safetensors").values())


def test_weights_that_break_in_the_last_step_are_not_saved(tmp_path):
    """The loss of that step is still finite."""
    with pytest.raises(FloatingPointError, match="step 1, the weights have become NaN or infinite"):
        train(tmp_path, model=Edge, max_steps=1, save_steps=1)
    assert not list(tmp_path.glob("checkpoint-*/model.safetensors"))


def test_finite_runs_end(tmp_path):
    assert train(tmp_path).state.global_step == 8


@pytest.mark.parametrize("option", ["weight_decay", "learning_rate", "warmup_ratio", "lr_power", "head_lr_factor"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_options_must_be_finite(tmp_path, option, value):
    if option not in SGDArguments.__dataclass_fields__:
        pytest.skip("transformers has no such option any more")
    with pytest.raises(ValueError, match=f"{option} must be"):
        SGDArguments(output_dir=str(tmp_path), **{option: value})
