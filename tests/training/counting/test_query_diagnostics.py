"""What the log says about queries: against attention that transformers returns, and failures that are made."""

import pytest
import torch
from tiny_iocformer import tiny_model

from dense_hf.training.counting import trainer as trainer_module
from dense_hf.training.counting.query_diagnostics import look_at_queries, what_is_wrong

pytestmark = pytest.mark.no_cover


def pictures(number: int = 3) -> torch.Tensor:
    return torch.randn(number, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("fields", [{}, {"decoder_layers": 1}, {"position_scale": 4, "query_grid": True}])
def test_attention_is_that_of_the_eager_model(fields):
    model = tiny_model(seed=2, tile_size=64, **fields)
    torch.nn.init.normal_(model.point_head.layers[-1].weight)  # it starts at zero: points at their references
    seen = look_at_queries(model, pictures())
    model.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = model(pictures(), output_attentions=True)
    references = outputs.reference_points[0] * 64
    near = attention = 0.0
    for query, (x, y) in enumerate(references.tolist()):
        for token in range(16):  # 4 x 4 of 16 px
            if ((token % 4 * 16 + 8 - x) ** 2 + (token // 4 * 16 + 8 - y) ** 2) ** 0.5 <= 6:  # 24 of 256 px
                near += 1 / 16 / len(references)
                weights = outputs.cross_attentions[-1][:, :, query, token]
                attention += float(weights.mean()) / len(references)
    assert seen["attention_near_reference"] == pytest.approx(attention, abs=1e-5)
    assert seen["attention_near_chance"] == pytest.approx(near, abs=1e-6)
    points = outputs.pred_points[..., :2].numpy() * 64
    assert seen["query_movement"] == pytest.approx(points.std(axis=0, ddof=1).mean(), rel=1e-4)


def test_looking_changes_nothing():
    model = tiny_model(tile_size=64, dropout=0.5).train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    look_at_queries(model, pictures())
    assert torch.equal(torch.rand(1), expected)
    assert model.training
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("case", ["no points", "one image", "another model"])
def test_nothing_to_say(case):
    model = torch.nn.Linear(1, 1) if case == "another model" else tiny_model(regression_branch=case != "no points")
    assert look_at_queries(model, pictures(1 if case == "one image" else 3)) == {}


def test_what_a_failure_is():
    config = tiny_model().config  # 12 queries in 32 pixels: 9.2 px apart
    good = {"query_movement": 2.0, "attention_near_reference": 0.3, "attention_near_chance": 0.03}
    assert what_is_wrong(good, config) == []
    (far,) = what_is_wrong(good | {"attention_near_reference": 0.05}, config)
    assert "5.0% of its attention" in far
    (fixed,) = what_is_wrong(good | {"query_movement": 1.1}, config)
    assert "move 1.1 px between images" in fixed
    config.num_queries = 700  # so many that each object has a query beside it
    assert what_is_wrong(good | {"query_movement": 1.1}, config) == []


def test_the_log_has_it_and_one_warning(make_trainer, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(trainer_module.logger, "warning", warnings.append)
    trainer = make_trainer(tmp_path, logging_steps=1)
    trainer.train()
    lines = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert all(line["query_movement"] >= 0 and 0 < line["attention_near_reference"] < 1 for line in lines)
    (text,) = warnings  # points of a few steps do not move
    assert "Points do not follow" in text
    assert "small_data.yaml" in text
