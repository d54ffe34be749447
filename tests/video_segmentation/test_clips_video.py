"""What every model that segments video promises about clips (`tiny_model`, see conftest)."""

import pytest
import torch
from tiny_video import plain_mean, random_clip, random_labels
from torch.testing import assert_close

CLOSE = {"atol": 1e-5, "rtol": 0}


# sizes: one pixel, less than the encoder takes, odd, a multiple of nothing, one window, many windows
@pytest.mark.parametrize("size", [(1, 1), (20, 45), (33, 37), (57, 56), (56, 56), (96, 160)])
def test_any_size(tiny_model, size):
    model = tiny_model()
    clip = random_clip(size=size, batch_size=1)
    outputs = model(clip, labels=random_labels(clip))
    expected = (-(-size[0] // 4), -(-size[1] // 4))
    assert outputs.logits.shape == (1, 5, *expected)
    assert outputs.auxiliary_logits.shape == (1, 4, 5, *expected)
    assert torch.isfinite(outputs.loss)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(480, 853), (1080, 1920)])
def test_sizes_of_real_videos(tiny_model, size):
    model = tiny_model()
    with torch.no_grad():
        logits = model(random_clip(size=size, batch_size=1)).logits
    assert logits.shape[-2:] == (size[0] // 4, -(-size[1] // 4))


def test_clips_of_a_batch_do_not_mix(tiny_model):
    model, clip = tiny_model(), random_clip(batch_size=3)
    with torch.no_grad():
        together = model(clip).logits
        alone = torch.cat([model(one[None]).logits for one in clip])
    assert_close(together, alone, **CLOSE)


@pytest.mark.parametrize("num_frames", [0, 5])
def test_frames_that_are_none_or_too_many(tiny_model, num_frames):
    with pytest.raises(ValueError, match=r"with 1 to 4 frames. Received: \[2, "):
        tiny_model()(random_clip(num_frames))


def test_shapes_that_are_wrong(tiny_model):
    model, clip = tiny_model(), random_clip()
    with pytest.raises(ValueError, match=r"Received: \[2, 3, 64, 96\]"):
        model(clip[:, 0])
    with pytest.raises(ValueError, match=r"labels must be \[2, 4, 64, 96\]. Received: \[2, 64, 96\]"):
        model(clip, labels=random_labels(clip)[:, 0])


def test_auxiliary_logits_on_demand(tiny_model):
    model, clip = tiny_model(), random_clip()
    with torch.no_grad():
        assert model(clip).auxiliary_logits is None
        asked = model(clip, output_auxiliary_logits=True).auxiliary_logits
        alone = torch.stack([model(clip[:, t][:, None]).logits for t in range(4)], dim=1)
        assert model.train()(clip).auxiliary_logits is not None
    assert_close(asked, alone, **CLOSE)


def test_loss_of_short_clips_is_that_of_the_frames(tiny_model):
    model, clip = tiny_model(), random_clip(num_frames=2)
    labels = random_labels(clip)
    outputs = model(clip, labels=labels)
    assert_close(outputs.loss, plain_mean(outputs.auxiliary_logits, labels))


def test_layer_norms_of_the_encoder(tiny_model):
    model = tiny_model()
    for name, module in model.encoder.named_modules():
        if isinstance(module, torch.nn.LayerNorm):
            shallow = "patch_embeddings" in name or "sequence_reduction" in name
            assert module.eps == (1e-5 if shallow else 1e-6), name


def test_saved_and_loaded(tiny_model, tmp_path):
    model, clip = tiny_model(), random_clip()
    model.save_pretrained(tmp_path)
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with torch.no_grad():
        assert_close(loaded(clip).logits, model(clip).logits, atol=1e-6, rtol=0)
    assert loaded.encoder.stages[0].layer_norm.eps == 1e-6
