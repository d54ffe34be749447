"""The released recipe: which parameter has which rate and decay, the schedule, the losses, and runs that go on."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from tiny_video_runs import ENCODER, sections
from torch import nn
from torch.nn import functional as F
from transformers import set_seed

from dense_hf.convert_cffm import rename_checkpoint
from dense_hf.methods import method_of
from dense_hf.training.batch_norm import with_synchronized_norms
from dense_hf.training.optimizers import linear_factor, parameter_groups
from dense_hf.training.run import build_model
from dense_hf.training.video.options import VideoTrainingArguments, parse_video_run
from dense_hf.training.video.run import build_trainer, read_training_videos

pytestmark = pytest.mark.no_cover

FIXTURES = Path(__file__).parents[2] / "fixtures" / "cffm"


def released_rule(name: str) -> tuple[float, float]:
    """Factors of (rate, decay) by mmcv 1.3.0: of the keys that occur in a name the longest wins, ties by alphabet."""
    keys = {"pos_block": (1.0, 0.0), "norm": (1.0, 0.0), "head": (10.0, 1.0)}
    for key in sorted(sorted(keys), key=len, reverse=True):
        if key in name:
            return keys[key]
    return 1.0, 1.0


def groups_of(model, encoder, **options):
    args = VideoTrainingArguments(output_dir="unused", **options)
    return parameter_groups(model, encoder, args.parameter_options)


@pytest.mark.parametrize("backbone", ["b0", "b1"])
def test_groups_are_those_of_the_released_optimizer(backbone):
    """Every tensor of the released code is filled with the number of its rule, and renamed as a checkpoint is."""
    rules = [(1.0, 1.0), (1.0, 0.0), (10.0, 1.0)]
    shapes = json.loads((FIXTURES / f"state_dict_cffm_{backbone}.json").read_text())
    official = {name: torch.full(shape, float(rules.index(released_rule(name)))) for name, shape in shapes.items()}
    expected = {name: rules[int(t.flatten()[0])] for name, t in rename_checkpoint(official).items() if t.numel()}
    with torch.device("meta"):
        config = method_of("cffm").make_config(backbone, {"num_labels": 124})
        model = method_of("cffm").model_class(config)
    groups = groups_of(model, "encoder", learning_rate=1.0, head_lr_factor=10.0, weight_decay=1.0)
    of_parameter = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    ours = {name: of_parameter[id(parameter)] for name, parameter in model.named_parameters()}
    assert sum(len(group["params"]) for group in groups) == len(ours)
    assert {*ours.values()} == {*rules}
    assert ours == {name: expected[name] for name in ours}


def test_the_baseline_has_the_same_groups():
    model = method_of("segformer").model_class(method_of("segformer").make_config("b0", {}))
    groups = groups_of(model, "segformer")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    encoder, norms, head = ([names[id(p)] for p in group["params"]] for group in groups)
    assert all("norm" in name for name in norms)
    assert "segformer.stages.0.blocks.0.attention.q_proj.bias" in encoder
    assert "decode_head.batch_norm.weight" in head
    assert len(encoder) + len(norms) + len(head) == len(names)


def test_frozen_parameters_are_not_trained():
    model = nn.ModuleDict({"encoder": nn.Linear(2, 2), "branch": nn.Linear(2, 2)})
    model["encoder"].requires_grad_(False)
    (group,) = groups_of(model, "encoder", learning_rate=2e-4, head_lr_factor=1.0)
    assert group["params"] == [*model["branch"].parameters()]
    assert group["lr"] == 2e-4


def test_the_schedule_is_the_released_one():
    """mmcv: regular = base * (1 - i / N), in the warm-up regular * (1 - (1 - i / 1500) * (1 - 1e-6))."""
    num_steps = 160_000
    for step in (0, 1, 749, 1499, 1500, 80_000, 159_999):
        regular = 6e-5 * (1 - step / num_steps)
        expected = regular * (1 - (1 - step / 1500) * (1 - 1e-6)) if step < 1500 else regular
        assert 6e-5 * linear_factor(step, num_steps, 1500) == pytest.approx(expected, rel=1e-12)
    assert linear_factor(0, num_steps, 1500) == pytest.approx(1e-6)
    assert linear_factor(num_steps, num_steps, 1500) == 0


# real trainers


@pytest.fixture
def make_trainer(video_set, tmp_path):
    """Build the trainer of a tiny run."""

    def make(output_dir, method="cffm", extra_inputs=None, build=build_model, **training):
        file = tmp_path / "run.yaml"
        training = {"save_strategy": "no"} | training
        file.write_text(yaml.safe_dump(sections(method, video_set, **training)), encoding="utf-8")
        run = parse_video_run(method, arguments=["--config", str(file), "--output_dir", str(output_dir)])
        videos = read_training_videos(run)
        return build_trainer(run, videos, build(run, videos.rule.names), extra_inputs)

    return make


def test_a_run_follows_the_schedule(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path)
    seen = []
    optimizer = trainer.create_optimizer()
    optimizer.step = lambda *args, **kwargs: seen.append([group["lr"] for group in optimizer.param_groups])
    trainer.train()
    assert len(seen) == 6
    for number, (encoder, norms, head) in enumerate(seen):
        assert encoder == norms == pytest.approx(1e-3 * linear_factor(number, 6, 2))
        assert head == pytest.approx(10 * encoder)


@pytest.mark.parametrize("method", ["cffm", "segformer"])
@pytest.mark.parametrize(("stop", "workers"), [(1, 0), (5, 2)])
def test_resumed_run_ends_with_the_same_bits(make_trainer, same_weights, tmp_path, method, stop, workers):
    """An epoch has 8 steps of 2 clips; dropout, drop path and augmentation are on."""
    whole = {"save_strategy": "steps", "max_steps": 10}
    make_trainer(tmp_path / "whole", method, **whole).train()
    resumed = make_trainer(tmp_path / "resumed", method, **whole, dataloader_num_workers=workers)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{stop}"))
    assert same_weights(tmp_path / "whole" / "checkpoint-10", tmp_path / "resumed" / "checkpoint-10")
    assert not same_weights(tmp_path / "whole" / "checkpoint-9", tmp_path / "resumed" / "checkpoint-10")


@pytest.mark.parametrize("options", [{"gradient_checkpointing": True}, {"gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("method", ["cffm", "segformer"])
def test_ways_to_save_memory_change_nothing(make_trainer, tmp_path, method, options):
    """Batch norm sees fewer clips with accumulation; without it (eval mode) the loss of a step is the same."""
    losses = []
    for number, extra in enumerate(({}, options)):
        batch_size = 2 // extra.get("gradient_accumulation_steps", 1)
        trainer = make_trainer(
            tmp_path / str(number), method, max_steps=3, per_device_train_batch_size=batch_size, **extra
        )
        trainer.model.train = lambda mode=True, model=trainer.model: nn.Module.train(model, False)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(losses[0]) == 3


def test_mixed_precision_trains(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, bf16=True, use_cpu=True, max_steps=3)
    trainer.train()
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())


def test_the_loss_of_the_baseline(make_trainer, tmp_path):
    """Cross-entropy of all frames at full resolution; ignored pixels count in the denominator (released)."""
    trainer = make_trainer(tmp_path, "segformer")
    model = trainer.model.eval()
    batch = trainer.data_collator([trainer.train_dataset[0, index] for index in range(2)])
    labels = batch["labels"]
    assert (labels == 255).any()
    loss = trainer.compute_loss(model, {key: value.clone() for key, value in batch.items()})
    total = 0.0
    for frames, maps in zip(batch["pixel_values"], labels):
        for frame, truth in zip(frames, maps):
            logits = F.interpolate(model(frame[None]).logits, size=truth.shape, mode="bilinear")
            total += F.cross_entropy(logits, truth[None].long(), ignore_index=255, reduction="sum").item()
    assert loss.item() == pytest.approx(total / labels.numel(), rel=1e-5)


class Prototyped(nn.Module):
    """Stands for CFFM++: a frozen CFFM, and a branch that learns from tensors of the clip's video."""

    def __init__(self, frozen):
        super().__init__()
        self.frozen = frozen.requires_grad_(False)
        self.config = frozen.config
        self.branch = nn.Linear(1, 1)
        self.seen = []

    def forward(self, pixel_values, labels, prototypes):
        self.seen += prototypes[:, 0].tolist()
        return {"loss": (self.branch(prototypes) ** 2).mean()}


def test_a_model_with_more_inputs_for_each_clip(make_trainer, tmp_path):
    def build(run, names):
        return Prototyped(build_model(run, names))

    def number_of(video):
        return {"prototypes": torch.tensor([float(video.video_id[-1])])}

    trainer = make_trainer(tmp_path, extra_inputs=number_of, build=build, head_lr_factor=1)
    before = {name: parameter.clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    assert {*trainer.model.seen} == {0, 1, 2, 3}
    changed = {
        name for name, parameter in trainer.model.named_parameters() if not torch.equal(parameter, before[name])
    }
    assert changed == {"branch.weight", "branch.bias"}


VARIANTS = [
    ("cffm", {}),
    ("cffm", {"motional_contexts": False}),
    ("cffm", {"cross_frame_mining": False}),
    ("cffm", {"frame_offsets": [3]}),
    ("cffm", {"auxiliary_loss_frames": "target"}),
    ("mrcfa", {}),
    ("mrcfa", {"num_scales": 1}),
    ("mrcfa", {"num_scales": 2, "affinity_width": 1}),
    ("mrcfa", {"use_sar": False}),
    ("mrcfa", {"use_maa": False}),
    ("mrcfa", {"mining": "feature_pyramid"}),
    ("mrcfa", {"mining": "video_swin"}),
]


@pytest.mark.parametrize(("method", "fields"), VARIANTS)
def test_every_parameter_takes_part_in_a_step(method, fields):
    """Several processes wait for the gradient of every parameter (`ddp_find_unused_parameters` is off)."""
    if method == "mrcfa" and find_spec("dense_hf.video_segmentation.modeling_mrcfa") is None:
        pytest.skip("MRCFA is not there yet")
    config = method_of(method).make_config("b1", {"encoder_config": ENCODER, "decoder_hidden_size": 16, **fields})
    set_seed(0)
    model = method_of(method).model_class(config)
    clip = torch.randn(2, config.num_reference_frames + 1, 3, 96, 96)
    model(clip, labels=torch.zeros(2, config.num_reference_frames + 1, 96, 96, dtype=torch.int64)).loss.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_norms_are_synchronized_on_gpus_only():
    """Only the conversion; several GPUs were not there to try it."""
    set_seed(0)
    config = method_of("cffm").make_config("b0", {"encoder_config": ENCODER, "decoder_hidden_size": 16})
    model = method_of("cffm").model_class(config).eval()
    before, keys = model(torch.ones(1, 4, 3, 64, 64)).logits, model.state_dict().keys()
    for world_size, device in ((1, "cuda"), (2, "cpu")):
        assert type(with_synchronized_norms(model, world_size, device).decoder.batch_norm) is nn.BatchNorm2d
    converted = with_synchronized_norms(model, 2, "cuda")
    assert type(converted.decoder.batch_norm) is nn.SyncBatchNorm
    assert converted.state_dict().keys() == keys
    assert torch.equal(converted(torch.ones(1, 4, 3, 64, 64)).logits, before)


def test_initial_weights_are_a_function_of_the_seed(make_trainer, tmp_path):
    def weights(seed):
        set_seed(0)
        return make_trainer(tmp_path, seed=seed).model.state_dict()

    first, again, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_labels_have_the_names_of_the_data(make_trainer, tmp_path):
    config = make_trainer(tmp_path).model.config
    assert config.id2label == {0: "wall", 1: "ground", 2: "disc", 3: "square", 4: "triangle"}


def test_defaults_are_the_released_ones():
    arguments = VideoTrainingArguments(output_dir="unused")
    assert (arguments.learning_rate, arguments.max_steps, arguments.warmup_steps) == (6e-5, 160_000, 1500)
