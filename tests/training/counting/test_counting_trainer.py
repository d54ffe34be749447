"""The recipe: optimizer, learning rate, calendar, best weights, card. And that every parameter learns."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import TrainerCallback

from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.reports.counting import write_counting_card
from dense_hf.reports.model_card import RunDescription, command_line, write_results
from dense_hf.training.counting.options import CountingTrainingArguments


class Diary(TrainerCallback):
    """What happened after which step, in order."""

    def __init__(self):
        self.entries = []

    def on_evaluate(self, args, state, control, **kwargs):
        self.entries.append(("evaluate", state.global_step))

    def on_save(self, args, state, control, **kwargs):
        self.entries.append(("save", state.global_step))


def test_optimizer_is_adam_with_l2_in_one_group(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, model_fields={"num_frozen_backbone_stages": 1})
    optimizer = trainer.create_optimizer()
    assert type(optimizer) is torch.optim.Adam
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-3, 5e-4)
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    assert {id(parameter) for parameter in group["params"]} == {id(parameter) for parameter in trained}
    assert len(trained) < len(list(trainer.model.parameters()))


def test_factors_of_the_learning_rate(make_trainer, tmp_path):
    factors = {"density_branch.": 0.1, "density_branch.conv.": 0.5, "backbone.": 0.25}
    trainer = make_trainer(tmp_path, learning_rate=1e-3, lr_factors=json.dumps(factors))
    rates = {
        id(parameter): group["lr"]
        for group in trainer.create_optimizer().param_groups
        for parameter in group["params"]
    }
    for name, parameter in trainer.model.named_parameters():
        factor = next((factors[key] for key in sorted(factors, key=len, reverse=True) if name.startswith(key)), 1.0)
        if parameter.requires_grad:
            assert rates.pop(id(parameter)) == pytest.approx(1e-3 * factor), name
    assert not rates


@pytest.mark.parametrize("factors", ["[1", '{"backbone.": -1}', '{"backbone.": "half"}'])
def test_impossible_factors_of_the_learning_rate(tmp_path, factors):
    with pytest.raises(ValueError, match="lr_factors"):
        CountingTrainingArguments(output_dir=str(tmp_path), lr_factors=factors)


def test_factors_for_parameters_that_do_not_exist(make_trainer, tmp_path):
    with pytest.raises(ValueError, match=r"backbones\."):
        make_trainer(tmp_path, lr_factors='{"backbones.": 0.1}').create_optimizer()


def test_learning_rate_drops_after_the_milestone_epochs(make_trainer, tmp_path):
    """4 steps per epoch, milestones after epochs 1 and 2."""
    trainer = make_trainer(tmp_path, lr_milestones=[1, 2], lr_decay=0.5, logging_steps=1)
    trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    # the rate is logged after the schedule's step: the fourth entry is what the fifth step will use
    assert rates == [1e-3] * 4 + [5e-4] * 4 + [2.5e-4] * 4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {"num_train_epochs": 5, "eval_start_epoch": 2, "eval_every_epochs": 2, "save_every_epochs": 3},
            [
                ("evaluate", 8),
                ("save", 8),
                ("save", 12),
                ("evaluate", 16),
                ("save", 16),
                ("evaluate", 20),
                ("save", 20),
            ],
        ),
        (
            {"num_train_epochs": 2, "eval_start_epoch": 2, "save_strategy": "steps", "save_steps": 3},
            [("save", 3), ("save", 6), ("evaluate", 8), ("save", 8)],
        ),
        (
            {"max_steps": 3, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "best"},
            [("evaluate", 2), ("save", 2), ("evaluate", 3)],
        ),
    ],
    ids=["epochs", "steps", "best"],
)
def test_calendar(make_trainer, tmp_path, arguments, expected):
    trainer = make_trainer(tmp_path, **{"eval_strategy": "epoch", "save_strategy": "epoch", **arguments})
    trainer.evaluate = lambda **kwargs: (
        trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, {}) and {"eval_mae": 1.0}
    )
    diary = Diary()
    trainer.add_callback(diary)
    trainer.train()
    assert diary.entries == expected


def test_best_weights_by_mae_return_at_the_end(make_trainer, tmp_path):
    trainer = make_trainer(
        tmp_path, eval_strategy="epoch", save_strategy="epoch", eval_start_epoch=1, eval_every_epochs=1
    )
    maes, weights = iter([7.0, 3.0, 5.0]), []

    def evaluate(**kwargs):
        weights.append({key: value.clone() for key, value in trainer.model.state_dict().items()})
        trainer.control.should_evaluate = False
        return {"eval_mae": next(maes)}

    trainer.evaluate = evaluate
    trainer.train()
    assert trainer.state.best_global_step == 8
    assert (trainer.state.best_metric, len(weights)) == (3.0, 3)
    assert all(torch.equal(value, weights[1][key]) for key, value in trainer.model.state_dict().items())


def test_evaluate_counts_whole_images(make_trainer, tmp_path):
    """A model that finds nothing is off by the number of objects."""
    trainer = make_trainer(tmp_path, model_fields={"density_branch": False})
    trainer.model.class_head.weight.data.zero_()  # every score is that of the bias, 1 %
    trainer.model.train()
    metrics = trainer.evaluate()
    counts = [len(example.points) for example in trainer.eval_dataset]
    assert metrics["eval_num_images"] == 5
    assert metrics["eval_mae"] == pytest.approx(sum(counts) / 5)
    assert metrics["eval_nae"] == 1
    assert trainer.model.training


def test_a_density_branch_alone_is_judged_by_its_sum(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, model_fields={"regression_branch": False})
    head = trainer.model.density_branch.density_head
    head.weight.data.zero_()
    head.bias.data.fill_(1e-3)
    metrics = trainer.evaluate()
    # the map of an n x m image has the same value everywhere: 1e-3 in each of the 4 x 4 cells of a 64-pixel tile
    errors = [
        abs(1e-3 * 16 / 64**2 * width * height - len(example.points))
        for example in trainer.eval_dataset
        for width, height in [example.size]
    ]
    assert metrics["eval_mae"] == pytest.approx(sum(errors) / 5, abs=0.02)
    assert metrics["eval_mae"] != pytest.approx(round(metrics["eval_mae"] * 5) / 5)  # whole counts would give fifths


@pytest.mark.parametrize(
    "fields",
    [
        *({"density_fusion": fusion} for fusion in ("released", "thesis", "merge", "merge2", "none")),
        {"density_branch": False},
        {"regression_branch": False},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "labels", [torch.full((2, 1, 3), -100.0), torch.full((2, 2, 3), 0.5)], ids=["empty", "points"]
)
def test_every_parameter_gets_a_gradient(make_trainer, tmp_path, fields, labels):
    """Also from a batch without any point: otherwise two processes would wait for each other for ever."""
    model = make_trainer(tmp_path, model_fields=fields).model.train()
    model(pixel_values=torch.rand(2, 3, 64, 64), labels=labels).loss.backward()
    without = [
        name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert without == []


@pytest.mark.parametrize("options", [{"activation_checkpointing": True}, {"bf16": True}], ids=str)
def test_memory_savers_train_the_same_model_nearly(make_trainer, tmp_path, options):
    losses = []
    for number, more in enumerate(({}, options)):
        no_dropout = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
        trainer = make_trainer(tmp_path / str(number), model_fields=no_dropout, max_steps=2, logging_steps=1, **more)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5 if "bf16" not in options else 0.1)


def test_impossible_arguments_are_listed(tmp_path):
    with pytest.raises(ValueError, match=r"save_every_epochs must be at least 1.*lr_decay must be positive"):
        CountingTrainingArguments(output_dir=str(tmp_path), save_every_epochs=0, lr_decay=0)


RUN = RunDescription(
    title="IOCFormer",
    command="python scripts/train_iocformer.py --config a.yaml",
    config={"model": {"encoder_layers": 2}, "data": {}, "training": {"hub_token": "secret", "seed": 3}},
    dataset="miniature (synthetic images, drawn by a program)",
    num_images={"train": 6, "validation": 5, "test": 1},
    processes=2,
)


def test_card_takes_its_numbers_from_the_results_file(tmp_path):
    results = {"validation": {"mae": 12.345, "mse": 20.5, "nae": 0.25, "num_images": 5}, "seed": 3}
    write_results(tmp_path, {**results, "epochs": 4.0, "best_epoch": 2.0})
    write_counting_card(tmp_path, RUN)
    card = ModelCard.load(tmp_path / "README.md")
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values == {"mae": 12.345, "rmse": 20.5, "nae": 0.25}
    for words in (
        "| validation | 5 | 12.35 | 20.50 | 0.25 |",
        "synthetic",
        RUN.command,
        "encoder_layers: 2",
        "epoch 2 of 4",
    ):
        assert words in card.text
    assert "secret" not in card.content


def test_card_without_results_says_so(tmp_path):
    write_counting_card(tmp_path, RUN)
    card = ModelCard.load(tmp_path / "README.md")
    assert "has not come to its end" in card.text
    assert card.data.eval_results is None


def test_the_command_hides_the_token():
    words = ["scripts/train.py", "--hub_token", "secret", "--name", "a b"]
    assert command_line(words, 1) == "python scripts/train.py --hub_token ... --name 'a b'"
    assert command_line(["x.py", "--hub_token=secret"], 2).endswith("--nproc_per_node 2 x.py --hub_token=...")


def test_saved_folder_is_a_model(make_trainer, tmp_path):
    make_trainer(tmp_path, save_strategy="steps", max_steps=1).train()
    folder = tmp_path / "checkpoint-1"
    model = IOCFormerForObjectCounting.from_pretrained(folder)
    assert model.config.num_queries == 60
    assert json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))["tile_size"] == 64


def test_a_push_uploads_our_card_and_not_the_checkpoints(make_trainer, tmp_path, monkeypatch):
    """Against a stand-in for the client of the Hub: what is given to it, not what the Hub does."""
    calls = []

    class Api:
        def create_repo(self, name, **options):
            return SimpleNamespace(repo_id=f"someone/{name}", url="unused")

        def upload_folder(self, **options):
            calls.append({**options, "files": {path.name for path in Path(options["folder_path"]).iterdir()}})

    monkeypatch.setattr("transformers.trainer.hf_api", Api)
    trainer = make_trainer(tmp_path, push_to_hub=True, hub_model_id="reef", hub_strategy="end")
    trainer.write_card = lambda folder: write_counting_card(folder, RUN)
    trainer.push_to_hub()
    (call,) = calls
    assert (call["repo_id"], call["folder_path"]) == ("someone/reef", str(tmp_path))
    assert {"README.md", "model.safetensors", "config.json", "preprocessor_config.json"} <= call["files"]
    assert "checkpoint-*" in call["ignore_patterns"]
    assert RUN.command in (tmp_path / "README.md").read_text(encoding="utf-8")
