"""ResNet-38: its layers against a table of the paper, its function against one written down block by block."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from tiny_affinity import TINY_RESNET38, randomise_norms
from tiny_mcis import random_pixels, tiny_config, tiny_model
from torch.nn import functional as F
from torch.testing import assert_close

from dense_hf import InvalidDataError, MCISConfig, MCISForImageClassification, ResNet38Config
from dense_hf.methods import method_of
from dense_hf.training.backbone_weights import architecture_of, load_backbone_weights
from dense_hf.weak_segmentation.resnet38 import ResNet38, rename_resnet38

# Table 1 of the paper, column A1: (blocks, channels and kernels of their convolutions)
TABLE = [
    (3, [(128, 3), (128, 3)]),
    (3, [(256, 3), (256, 3)]),
    (6, [(512, 3), (512, 3)]),
    (3, [(512, 3), (1024, 3)]),
    (1, [(512, 1), (1024, 3), (2048, 1)]),
    (1, [(1024, 1), (2048, 3), (4096, 1)]),
]


def counted():
    """Numbers in the convolutions of the first layer and each stage, and in the norms."""
    convolutions, norms, inputs = [3 * 64 * 9], 0, 64
    for blocks, layers in TABLE:
        total = 0
        for _ in range(blocks):
            if inputs != layers[-1][0]:
                total += inputs * layers[-1][0]  # the shortcut
            for channels, kernel in layers:
                total += inputs * channels * kernel**2
                norms += 2 * inputs
                inputs = channels
        convolutions.append(total)
    return convolutions, norms + 2 * inputs


def test_parameters():
    """105.1 million. The 104.3 that are often told are what PSA trains of it for 20 classes, see below."""
    convolutions, norms = counted()
    with torch.device("meta"):
        backbone = ResNet38(ResNet38Config())
    assert sum(parameter.numel() for parameter in backbone.parameters()) == sum(convolutions) + norms == 105_070_912
    # neither norms nor the first two stages, but a class layer
    assert sum(convolutions[2:]) + 20 * 4096 == 104_284_160
    assert sum(isinstance(part, torch.nn.Conv2d) and part.kernel_size == (3, 3) for part in backbone.modules()) == 33
    assert backbone.channels == [512, 1024, 4096]


def with_published_names(width: int = 2) -> dict[str, torch.Tensor]:
    """A state dict as the PyTorch conversions have it, of random numbers."""
    generator = torch.Generator().manual_seed(1)
    state = {"conv1a.weight": torch.randn(width, 3, 3, 3, generator=generator)}

    def norm(name, channels):
        for field, low in (("weight", 0.5), ("bias", -0.1), ("running_mean", -0.1), ("running_var", 0.5)):
            state[f"{name}.{field}"] = low + torch.rand(channels, generator=generator)

    inputs = width
    for stage, (blocks, layers) in enumerate(TABLE, start=2):
        for block in range(blocks):
            name = f"b{stage}_{block}" if block else f"b{stage}"
            outputs = layers[-1][0] * width // 64
            if inputs != outputs:
                state[f"{name}.conv_branch1.weight"] = torch.randn(outputs, inputs, 1, 1, generator=generator) / 4
            for part, (channels, kernel) in zip(("2a", "2b1", "2b2"), layers):
                channels = channels * width // 64
                norm(f"{name}.bn_branch{part}", inputs)
                weight = torch.randn(channels, inputs, kernel, kernel, generator=generator)
                state[f"{name}.conv_branch{part}.weight"] = weight / (inputs * kernel**2) ** 0.5
                inputs = channels
    norm("bn7", inputs)
    return state


def reference(state, pixels):
    """The network as a person would follow it, layer by layer; activated maps behind B4, B5 and B7."""

    def activated(values, name):
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        factor, offset = state[f"{name}.weight"], state[f"{name}.bias"]
        shape = (1, -1, 1, 1)
        values = (values - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt() * factor.view(shape)
        return (values + offset.view(shape)).clamp(min=0)

    hidden = F.conv2d(pixels, state["conv1a.weight"], padding=1)
    maps = {}
    for stage, (blocks, layers) in enumerate(TABLE, start=2):
        for block in range(blocks):
            name = f"b{stage}_{block}" if block else f"b{stage}"
            first = values = activated(hidden, f"{name}.bn_branch2a")
            stride = 2 if stage <= 4 and not block else 1
            for part, (_, kernel) in zip(("2a", "2b1", "2b2"), layers):
                if part != "2a":
                    values = activated(values, f"{name}.bn_branch{part}")
                dilation = {5: 2, 6: 4, 7: 4}.get(stage, 1)
                if (stage, block, part) == (5, 0, "2a"):
                    dilation = 1
                values = F.conv2d(
                    values,
                    state[f"{name}.conv_branch{part}.weight"],
                    stride=stride if part == "2a" else 1,
                    padding=dilation if kernel == 3 else 0,
                    dilation=dilation if kernel == 3 else 1,
                )
            shortcut = state.get(f"{name}.conv_branch1.weight")
            hidden = values + (hidden if shortcut is None else F.conv2d(first, shortcut, stride=stride))
            if not block:
                maps[stage] = first
    return maps[5], maps[6], activated(hidden, "bn7")


def test_published_names_are_read_and_computed_as_published(tmp_path):
    """Loaded through the door that `--backbone_weights` uses, with a class layer that has no place."""
    state = with_published_names()
    torch.save({**state, "linear1000.weight": torch.zeros(10, 128)}, tmp_path / "resnet38.pth")
    model = MCISForImageClassification(tiny_config(backbone_config=dict(TINY_RESNET38)))
    assert architecture_of(model.config, method_of("mcis")) == "resnet38"
    report = load_backbone_weights(model.backbone, "resnet38", str(tmp_path / "resnet38.pth"))
    assert report.left_out == ("linear1000.weight",)
    assert report.num_loaded == len(state)
    pixels = random_pixels(size=(50, 70))
    with torch.no_grad():
        maps = model.train().backbone(pixels).feature_maps  # frozen norms: training changes only dropout
        for one, other in zip(maps[:2], reference(state, pixels)):
            assert one.shape[-2:] == (7, 9)
            assert_close(one, other, atol=1e-4, rtol=1e-4)
        last = model.eval().backbone(pixels).feature_maps[-1]
    assert_close(last, reference(state, pixels)[-1], atol=1e-4, rtol=1e-4)
    assert last.std() > 0.1


def test_a_file_of_another_network_is_refused(tmp_path):
    state = with_published_names()
    del state["b6.conv_branch2a.weight"]
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(InvalidDataError, match=r"missing stages\.4\.0\.convolutions\.0\.weight"):
        load_backbone_weights(ResNet38(ResNet38Config(width=2)), "resnet38", str(tmp_path / "broken.pth"))
    assert rename_resnet38("b5_1.conv_branch2a.weight") == "stages.3.1.convolutions.0.weight"
    assert rename_resnet38("fc8.weight") == "fc8.weight"


def test_in_training_channels_are_dropped_and_norms_are_not_trained():
    model = tiny_model(backbone_config=dict(TINY_RESNET38)).train()
    pixels = random_pixels()
    assert not torch.equal(model.backbone(pixels).feature_maps[-1], model.backbone(pixels).feature_maps[-1])
    model(pixels, pixels.flip(-1), labels=torch.ones(2, 5), paired_labels=torch.zeros(2, 5)).loss.backward()
    names = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name for name, _ in model.named_parameters()} == names
    assert not any("norm" in name for name in names)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointed in (False, True):
        model = tiny_model(backbone_config={**TINY_RESNET38, "dropout": [0.0, 0.0]}).train()
        randomise_norms(model.backbone)
        if checkpointed:
            model.gradient_checkpointing_enable()
        model(random_pixels(), labels=torch.ones(2, 5)).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0]["backbone.stem.weight"].abs().max() > 0
    assert_close(gradients[0], gradients[1])


def test_frozen_norms_have_numbers_where_a_model_is_made_without_memory():
    with torch.device("meta"):
        model = MCISForImageClassification(tiny_config(backbone_config=dict(TINY_RESNET38)))
    model.to_empty(device="cpu")
    for buffer in model.buffers():
        buffer.fill_(7)
    model.init_weights()
    values = torch.randn(1, 128, 3, 3)
    assert_close(model.backbone.norm(values), values, atol=1e-4, rtol=0)


def test_it_is_saved_and_loaded(tmp_path):
    model = tiny_model(backbone_config=dict(TINY_RESNET38))
    randomise_norms(model.backbone)
    model.save_pretrained(tmp_path)
    loaded = MCISForImageClassification.from_pretrained(tmp_path)
    assert isinstance(loaded.config.backbone_config, ResNet38Config)
    assert loaded.config.backbone_config.width == 2
    assert type(loaded.config.backbone_config.dropout[0]) is float
    with torch.no_grad():
        assert_close(model(random_pixels()).logits, loaded.eval()(random_pixels()).logits, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [({"width": 0}, "width"), ({"dropout": [0.5]}, "dropout"), ({"dropout": [0.5, 1.0]}, "dropout")],
)
def test_bad_fields(fields, problem):
    with pytest.raises((StrictDataclassError, ValueError), match=problem):
        ResNet38Config(**fields)
    with pytest.raises((StrictDataclassError, ValueError), match=problem):
        MCISConfig(backbone_config={"model_type": "resnet38", **fields})
