"""The density counters: released numbers at full width, checkpoints, losses, and the common ways of use."""

import pytest
import torch
from released_counters import check_gradients, draw, golden, official_state_dict, pixels
from safetensors.torch import load_file
from tiny_density_counter import random_points, tiny_density_config, tiny_density_model
from tiny_iocformer import random_labels
from tiny_iocformer import tiny_model as tiny_iocformer
from torch.testing import assert_close
from without_the_package import run_without_the_package

from dense_hf import CounterImageProcessor, DensityCounterConfig, DensityCounterForObjectCounting
from dense_hf.convert import convert_original_checkpoint
from dense_hf.convert_density_counter import rename
from dense_hf.counting.configuration_density_counter import METHODS
from dense_hf.counting.configuration_iocformer import IOCFORMER_DENSITY_LOSSES
from dense_hf.counting.density_losses import stride_of
from dense_hf.errors import InvalidDataError
from dense_hf.methods import method_of

CASES = {
    "csrnet": "csrnet",
    "can": "can",
    "can_commissarma": "can_commissarma",
    "bl_model": "bl",
    "dmcount_model": "dmcount",
    "gl_model": "gl",
}
PARAMETERS = {
    "csrnet": 16_263_489,
    "can": 18_103_489,
    "can_commissarma": 20_719_937,
    "bl": 21_499_457,
    "noisycc": 21_499_457,
    "dmcount": 21_499_457,
    "gl": 21_499_457,
    "kdmg": 21_499_457 + 269_657,
}


@pytest.mark.parametrize("method", METHODS)
def test_parameters(method):
    with torch.device("meta"):
        model = DensityCounterForObjectCounting(DensityCounterConfig.from_method(method))
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[method]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_released_numbers(case, tmp_path):
    """Map, loss and gradients, from a file as the authors write it; also at a size that 16 does not divide."""
    meta, numbers = golden(case)
    official = official_state_dict(meta)
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in official.items()}}
    torch.save(wrapped, tmp_path / "official.pth")
    model = convert_original_checkpoint(tmp_path / "official.pth", CASES[case])
    assert sum(parameter.numel() for parameter in model.parameters()) == meta["parameters"]
    with torch.no_grad():
        density = model(pixels(meta)).density_map
    assert_close(density, numbers["density"], atol=1e-5 * float(numbers["density"].abs().max()), rtol=0)
    assert_close(density.sum(dim=(1, 2, 3)).tolist(), meta["count"], rtol=1e-4, atol=0)
    shape = (meta["batch"], meta["target_height"], meta["target_width"])
    target = torch.from_numpy(draw("target", shape, meta["seed"], uniform=True)).float()
    density = model.double()(pixels(meta).double()).density_map
    loss = (density[:, 0] - target.where(target > 0.85, 0.0)).square().sum()
    loss.backward()
    assert_close(loss.detach().float().reshape(1), numbers["loss"], rtol=1e-5, atol=0)
    ours = {next(iter(rename({name: tensor, **_norm(official)}))): name for name, tensor in official.items()}
    check_gradients(model, ours, meta["gradients"])
    with torch.no_grad():
        odd = model(torch.zeros(1, 3, 77, 59).double()).density_map
    assert odd.shape[-2:] == ((8, 6) if model.config.upsample else (9, 7))


def _norm(official):
    """What tells a backend with batch norm."""
    return {name: tensor for name, tensor in official.items() if name == "backend.1.running_mean"}


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"model_state_dict": {"features.34.weight": torch.zeros(2, 2)}}, path)
    with pytest.raises(InvalidDataError, match=r"a checkpoint of bl"):
        convert_original_checkpoint(path, "bl")
    torch.save({"weight": torch.zeros(2, 2)}, path)
    with pytest.raises(InvalidDataError, match=r"a trunk of torchvision's VGG16.*There is none"):
        convert_original_checkpoint(path, "csrnet")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("columns", [2, 4])
def test_every_method_learns_from_few_points(method, columns):
    model = tiny_density_model(method).train()
    labels = random_points((0, 1, 2, 3), columns=columns)
    output = model(torch.randn(4, 3, 64, 64), labels=labels, image_short_sides=torch.full((4,), 80.0))
    output.loss.backward()
    missing = [name for name, value in model.named_parameters() if value.grad is None]
    assert missing == []
    assert all(torch.isfinite(value.grad).all() for value in model.parameters())
    assert all(torch.isfinite(term) for term in output.loss_dict.values())


def test_a_batch_with_no_points_at_all_reaches_every_parameter():
    """A distributed run waits for the gradient of each."""
    for method in METHODS:
        model = tiny_density_model(method).train()
        model(torch.randn(2, 3, 64, 64), labels=random_points((0, 0))).loss.backward()
        assert [name for name, value in model.named_parameters() if value.grad is None] == [], method


def test_labels_are_checked():
    model = tiny_density_model()
    images = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"labels must have shape \[B, N, 2 to 4\].*Received: \[1, 1, 5\]"):
        model(images, labels=torch.zeros(1, 1, 5))
    with pytest.raises(ValueError, match=r"divided by the sides.*40 to 50"):
        model(images, labels=torch.tensor([[[40.0, 50.0]]]))
    with pytest.raises(ValueError, match="needs its generator"):
        tiny_density_model("kdmg", generated_kernel_size=None)(images, labels=random_points((1,)))
    with pytest.raises(ValueError, match=r"loss_options of bayesian must be among .*sigma, trim. Received: sigmas"):
        tiny_density_model(loss_options={"sigmas": 3})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"neck": "x", "upsample": "cubic"}, "neck must be one of .* 'x'; upsample must be one of .* 'cubic'"),
        ({"head_channels": []}, "head_channels must be one or more"),
        ({"loss_type": "l2"}, "loss_type must be one of"),
        ({"loss_type": "generalized", "output_activation": None}, "moves mass, which an output_activation must"),
    ],
)
def test_a_config_that_cannot_be_is_refused(fields, words):
    with pytest.raises(Exception, match=words):
        tiny_density_config(**fields)
    with pytest.raises(ValueError, match=r"method must be one of csrnet.*Received: 'x'"):
        DensityCounterConfig.from_method("x")


@pytest.mark.parametrize("loss", IOCFORMER_DENSITY_LOSSES)
def test_the_density_branch_of_iocformer_learns_by_these_losses(loss):
    model = tiny_iocformer(density_loss=loss).train()
    output = model(torch.randn(2, 3, 32, 32), labels=random_labels())
    output.loss.backward()
    assert torch.isfinite(output.loss_dict["loss_density"])
    assert all(torch.isfinite(value.grad).all() for value in model.density_branch.parameters())
    count = (output.density_map.sum(dim=(1, 2, 3)) - torch.tensor([3.0, 1.0])).abs().mean()
    if loss == "count":
        assert torch.equal(output.loss_dict["loss_density"], count)


def test_padding_counts_nothing():
    model, images = tiny_density_model(), torch.randn(1, 3, 64, 64)
    mask = torch.ones(1, 64, 64)
    mask[:, 32:] = 0
    with torch.no_grad():
        alone, masked = model(images[:, :, :32]).density_map, model(images, pixel_mask=mask).density_map
    assert torch.equal(masked[:, :, :4], alone)
    assert float(masked[:, :, 4:].abs().sum()) == 0


@pytest.mark.parametrize(("upsample", "stride"), [(None, 14), ("nearest", 7)])
def test_cells_of_patches_that_are_no_power_of_two(upsample, stride):
    """A ViT with patches of 14: each point lies in its own cell."""
    patches = {
        "model_type": "dinov2",
        "patch_size": 14,
        "image_size": 56,
        "hidden_size": 12,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "out_features": ["stage2"],
    }
    options = {"sigma": 0.1, "background_ratio": 0.2}  # cells beside a point are nearer to the background
    model = tiny_density_model("bl", backbone_config=patches, upsample=upsample, loss_options=options)
    assert model.stride == stride
    points = torch.tensor([[[0.5, 0.5], [3.5, 1.5]]]) * stride  # middles of cells
    output = model(torch.randn(1, 3, 56, 56), labels=points / 56)
    cells = output.density_map[0, 0]
    expected = (1 - cells[0, 0]).abs() + (1 - cells[1, 3]).abs()
    assert_close(output.loss_dict["loss_points"], expected)


def test_cells_that_nobody_knows_are_refused():
    assert stride_of(torch.zeros(1, 1, 8, 6), (77, 59)) == 8  # VGG, which drops what is left over
    assert stride_of(torch.zeros(1, 1, 10, 8), (77, 59)) == 8  # ResNets fill it up
    with pytest.raises(ValueError, match=r"a power of two.*Received: 16 x 16 cells of 224 x 224 pixels"):
        stride_of(torch.zeros(1, 1, 16, 16), (224, 224))


def test_titles():
    titles = {method: method_of("density_counter").title_of(tiny_density_config(method)) for method in METHODS}
    assert list(titles.values()) == ["CSRNet", "CAN", "CAN", "BL", "NoisyCC", "DM-Count", "GL", "KDMG"]


def test_export_and_autocast():
    model, images = tiny_density_model("can"), torch.randn(2, 3, 64, 64)
    program = torch.export.export(model, (images,))
    with torch.no_grad():
        exact = model(images).density_map
        assert_close(program.module()(images).density_map, exact, atol=1e-5, rtol=0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            fast = model(images, labels=random_points())
    assert_close(fast.density_map.float(), exact, atol=0.05, rtol=0.1)
    assert fast.loss.dtype == torch.float32


WITHOUT = """
import sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel
model = AutoModel.from_pretrained("model", trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained("model", trust_remote_code=True)
result = processor.count_objects(model, load_file("image.safetensors")["image"], return_density_map=True)
loss = model(torch.zeros(1, 3, 64, 64), labels=torch.tensor([[[0.5, 0.5]]])).loss
save_file({"map": result["density_map"], "loss": loss.detach().reshape(1)}, "found.safetensors")
"""


@pytest.mark.slow
def test_a_checkpoint_works_without_the_package(tmp_path):
    from safetensors.torch import save_file

    model = tiny_density_model("kdmg")
    processor = CounterImageProcessor(parts_per_side=2)
    image = torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    save_file({"image": image}, tmp_path / "image.safetensors")
    run_without_the_package(WITHOUT, tmp_path)
    found = load_file(tmp_path / "found.safetensors")
    here = processor.count_objects(model, image, return_density_map=True)
    assert_close(found["map"], here["density_map"])
    loss = model(torch.zeros(1, 3, 64, 64), labels=torch.tensor([[[0.5, 0.5]]])).loss
    assert_close(found["loss"], loss.detach().reshape(1))
