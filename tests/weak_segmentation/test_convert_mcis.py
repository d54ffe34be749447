"""Reading checkpoints of the authors' code, and pictures of all kinds."""

import numpy as np
import pytest
import torch
from PIL import Image
from released_mcis import golden, part
from torch.testing import assert_close

from dense_hf import InvalidDataError, MCISForImageClassification, MCISImageProcessor, convert_original_checkpoint
from dense_hf.cli import main


@pytest.fixture(scope="module")
def official():
    """The authors' tensors of a narrow network."""
    return part(golden("classifier_tiny_same"), "weights")


def saved(tmp_path, state_dict, **around):
    path = tmp_path / "epoch_10.pth"
    torch.save({"state_dict": state_dict, **around} if around else state_dict, path)
    return path


def test_sizes_come_from_the_shapes(tmp_path, official):
    config = convert_original_checkpoint(saved(tmp_path, official), "mcis").config
    assert list(config.vgg_hidden_sizes) == [4, 6, 8, 16]
    assert (config.hidden_size, config.num_labels, config.num_channels, config.num_domains) == (16, 20, 3, 1)


def test_what_surrounds_the_weights_is_tolerated(tmp_path, official):
    plain = convert_original_checkpoint(saved(tmp_path, official), "mcis")
    wrapped = {f"module.{name}": tensor for name, tensor in official.items()}
    around = {"epoch": 10, "global_counter": 7, "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(1)}}}}
    again = convert_original_checkpoint(saved(tmp_path, wrapped, **around), "mcis")
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert_close(plain(pixels).logits, again(pixels).logits, atol=0, rtol=0)


def test_settings_that_the_file_cannot_tell(tmp_path, official):
    model = convert_original_checkpoint(saved(tmp_path, official), "mcis", scale_views=[0.5], flip_view=False)
    assert (list(model.config.scale_views), model.config.flip_view) == ([0.5], False)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"extra_gate.weight": None}, "missing: common_classifier.weight"),
        ({"vgg.features.28.bias": None}, "missing: backbone.stages.4.28.bias"),
        ({"vgg.extra_last_conv.weight": None}, "no tensor named 'vgg.extra_last_conv.weight'"),
        ({"extra_linear_f.weight": torch.zeros(2)}, "unexpected: extra_linear_f.weight"),
        (
            {"extra_gate_merge.weight": torch.zeros(1, 9, 1, 1)},
            r"gate.weight \[1, 9, 1, 1\] \(expected \[1, 16, 1, 1\]",
        ),
        ({"extra_gate.weight": torch.full((20, 16, 1, 1), float("nan"))}, "finite weights"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, official, damage, message):
    state_dict = {name: tensor for name, tensor in (official | damage).items() if tensor is not None}
    with pytest.raises(InvalidDataError, match=message):
        convert_original_checkpoint(saved(tmp_path, state_dict), "mcis")


def test_the_command_writes_a_model_and_its_processor(tmp_path, official, capsys):
    path = saved(tmp_path, official)
    assert main(["convert", str(path), "mcis", str(tmp_path / "out")]) == 0
    assert "MCISForImageClassification with" in capsys.readouterr().out
    model = MCISForImageClassification.from_pretrained(tmp_path / "out")
    pixels = MCISImageProcessor.from_pretrained(tmp_path / "out")(picture("RGB"), return_tensors="pt")["pixel_values"]
    assert model(pixels).activation_maps.shape == (1, 20, 32, 32)


# pictures


def picture(mode: str) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK", "LA"])
def test_pictures_of_all_modes(mode):
    image = picture(mode)
    pixels = MCISImageProcessor()(image, return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 256, 256)
    assert torch.equal(pixels, MCISImageProcessor()(image.convert("RGB"), return_tensors="pt")["pixel_values"])


def test_arrays_of_all_layouts():
    """Gray, with transparency (dropped, as in a file), channels first and last: the picture that they show."""
    image = picture("RGB")
    last, gray = np.array(image), np.array(image.convert("L"))
    transparent = np.concatenate([last, last[..., :1]], axis=-1)
    same = {
        "RGB": [last, transparent, last.transpose(2, 0, 1), torch.from_numpy(transparent).permute(2, 0, 1), [last]],
        "L": [gray, gray[..., None], torch.from_numpy(gray), [gray]],
    }
    for mode, arrays in same.items():
        expected = MCISImageProcessor()(image.convert(mode), return_tensors="pt")["pixel_values"]
        for array in arrays:
            assert torch.equal(MCISImageProcessor()(array, return_tensors="pt")["pixel_values"], expected)


def test_floats_between_0_and_1():
    image = np.array(picture("RGB"))
    floats = MCISImageProcessor()(image / 255, do_rescale=False, return_tensors="pt")["pixel_values"]
    assert_close(floats.float(), MCISImageProcessor()(image, return_tensors="pt")["pixel_values"], atol=0.02, rtol=0)


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_pictures_that_would_be_clipped(mode):
    image = Image.fromarray(np.full((4, 4), 300, np.uint16)) if mode == "I;16" else picture("L").convert(mode)
    with pytest.raises(ValueError, match="8 bits per channel"):
        MCISImageProcessor()(image, return_tensors="pt")


def test_a_batch_of_pictures_of_different_sizes():
    images = [picture("RGB"), picture("RGB").resize((7, 90))]
    assert MCISImageProcessor()(images, return_tensors="pt")["pixel_values"].shape == (2, 3, 256, 256)
