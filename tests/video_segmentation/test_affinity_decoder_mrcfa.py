"""The affinity decoder, its ablations and token selection: against released numbers, brute force and properties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from released_mrcfa import FIXTURES
from safetensors.torch import load_file
from tiny_mrcfa import tiny_config
from torch.nn import functional as F
from torch.testing import assert_close

from dense_hf.convert_mrcfa import rename_checkpoint
from dense_hf.video_segmentation.affinity_decoder_mrcfa import AffinityDecoder, ImageLayer
from dense_hf.video_segmentation.affinity_mrcfa import resize_tokens, select_tokens, token_importance

CLOSE = {"atol": 1e-4, "rtol": 0}
ONE_CHANNEL = {"affinity_depth": 2, "affinity_width": 1, "affinity_kernel_sizes": [3, 3, 5]}
# the authors' name of each decoder, and the fields of the config that make it
DECODERS = {
    "final_b1": {},
    "final_b0": {"affinity_depth": 1, "affinity_width": 1, "affinity_kernel_sizes": [3, 5, 5]},
    "HPNLearner_topk2": {"affinity_depth": 1, "affinity_width": 1, "affinity_kernel_sizes": [3, 5, 5]},
    "HPNLearner_topk2_L1": {"num_scales": 1, **ONE_CHANNEL},
    "HPNLearner_topk2_L2": {"num_scales": 2, **ONE_CHANNEL},
    "HPNLearner_topk2_only_sar": {"use_maa": False, **ONE_CHANNEL},
    "HPNLearner_topk2_only_cfm": {"use_sar": False, **ONE_CHANNEL},
    "HPNLearner_topk2_3d": {"affinity_convolution": "3d"},
}


def decode(decoder: AffinityDecoder, affinities: list[torch.Tensor], sizes, tokens: int) -> torch.Tensor:
    images = [a.contiguous(memory_format=torch.channels_last) for a in affinities]
    return decoder(*images, sizes=sizes, tokens_per_reference=tokens)


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_released_decoders(name):
    golden = load_file(FIXTURES / "decoder_ablations.safetensors")
    config = tiny_config(**DECODERS[name])
    decoder = AffinityDecoder(config)
    prefix = f"{name}.weight."
    official = {
        f"decode_head.hypercorre_module.hpn.{key.removeprefix(prefix)}": tensor
        for key, tensor in golden.items()
        if key.startswith(prefix)
    }
    ours = rename_checkpoint(official, config.num_scales)
    decoder.load_state_dict({key.removeprefix("mining.decoder."): tensor for key, tensor in ours.items()})
    raw = [golden[f"in.affinity_s{n}"] for n in (4, 3, 2)]  # [N, 1, h, w]
    sizes = [maps.shape[-2:] for maps in raw]
    affinities = [maps.transpose(0, 1) for maps in raw[: config.num_scales]]
    refined = decode(decoder, affinities, sizes, len(raw[0]))
    expected = golden[f"{name}.out"].reshape(1, len(raw[0]), *sizes[-1])
    assert_close(refined, expected, **CLOSE)


@pytest.mark.parametrize(("ins", "outs", "kernel"), [(1, 1, 5), (1, 2, 3), (2, 2, 3), (2, 1, 3)])
@pytest.mark.parametrize("size", [(1, 1), (5, 7)])
def test_a_layer_is_a_convolution_of_each_image(ins, outs, kernel, size):
    """Of images that are samples of a batch, with a plain group norm; gradients too."""
    layer = ImageLayer(ins, outs, kernel)
    torch.nn.init.normal_(layer.norm.weight)
    torch.nn.init.normal_(layer.norm.bias)
    images = torch.randn(ins, 6, *size, requires_grad=True)
    ours = layer(images.contiguous(memory_format=torch.channels_last), 3)
    samples = F.conv2d(images.transpose(0, 1), layer.convolution.weight, layer.convolution.bias, padding=kernel // 2)
    centred = samples - samples.mean((1, 2, 3), keepdim=True)
    normed = centred / (samples.var((1, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    plain = F.relu(normed * layer.norm.weight[:, None, None] + layer.norm.bias[:, None, None]).transpose(0, 1)
    assert_close(ours, plain, atol=1e-5, rtol=1e-4)
    parameters = [images, *layer.parameters()]
    upstream = torch.randn_like(ours)
    theirs = torch.autograd.grad(plain, parameters, upstream)
    assert_close(torch.autograd.grad(ours, parameters, upstream), theirs, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_tokens_do_not_mix():
    """But for 3D convolutions, where those of one reference do."""
    sizes = [(2, 3), (4, 6), (8, 12)]
    affinities = [torch.randn(1, 8, *size) for size in sizes]
    changed = [a.clone() for a in affinities]
    for one in changed:
        one[:, 0] += torch.randn_like(one[:, 0])
    for convolution, touched in (("2d", [0]), ("3d", [0, 1, 2, 3])):
        torch.manual_seed(0)
        decoder = AffinityDecoder(tiny_config(affinity_convolution=convolution))
        before, after = (decode(decoder, maps, sizes, 4) for maps in (affinities, changed))
        moved = (before - after).abs().amax((0, 2, 3)) > 1e-6
        assert set(moved.nonzero().flatten().tolist()) <= set(touched)
        assert moved[0]


@torch.no_grad()
def test_the_scale_of_affinities_is_lost_in_the_norms():
    sizes = [(4, 6), (8, 12), (16, 24)]
    affinities = [5 * torch.randn(1, 8, *size) for size in sizes]
    torch.manual_seed(0)
    refined = AffinityDecoder(tiny_config())
    assert_close(
        decode(refined, [a * 3 for a in affinities], sizes, 8), decode(refined, affinities, sizes, 8), **CLOSE
    )


def token_layer(images: torch.Tensor, layer: ImageLayer, group: int) -> torch.Tensor:
    """[c, M, h, w] -> [c', M, h, w] by a plain convolution and one norm for `group` tokens side by side."""
    convolved = F.conv2d(images.transpose(0, 1), layer.convolution.weight, layer.convolution.bias, padding=1)
    done = []
    for some in convolved.split(group):
        normed = (some - some.mean()) / (some.var(correction=0) + 1e-5).sqrt()
        done.append(F.relu(normed * layer.norm.weight[:, None, None] + layer.norm.bias[:, None, None]))
    return torch.cat(done).transpose(0, 1)


def test_a_norm_over_a_reference_is_one_for_all_of_its_tokens():
    layer = ImageLayer(2, 2, 3, per_token=False)
    torch.nn.init.normal_(layer.norm.weight)
    torch.nn.init.normal_(layer.norm.bias)
    images = torch.randn(2, 6, 5, 7)
    assert_close(layer(images, 3), token_layer(images, layer, 3), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_only_a_norm_over_a_reference_tells_a_token_that_fits_nowhere():
    """Affinities of one token are low everywhere: as released, it gets as much of the attention as the others."""
    sizes = [(4, 6), (8, 12), (16, 24)]
    affinities = [torch.randn(1, 16, *size) for size in sizes]
    for one in affinities:
        one[:, 3] -= 4
    shares = {}
    for norm in ("token", "reference"):
        torch.manual_seed(0)
        config = tiny_config(affinity_norm=norm, affinity_depth=1, affinity_width=1, affinity_kernel_sizes=[3, 5, 5])
        decoder = AffinityDecoder(config)
        for parameter in decoder.parameters():  # weights that look at the affinity itself
            if parameter.ndim == 4:
                torch.nn.init.dirac_(parameter)
        refined = decode(decoder, affinities, sizes, 16)
        shares[norm] = refined.softmax(dim=1).mean((0, 2, 3))[3].item() * 16
    assert shares["token"] > 0.9
    assert shares["reference"] < 0.75  # no scale here: exp(0) against the mean of exp of positive numbers


# -- selection --------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.floats(0.01, 1), st.integers(0, 999))
def test_selection_by_hand(tokens, pixels, largest, ratio, seed):
    generator = torch.Generator().manual_seed(seed)
    affinity = torch.randn(2, pixels, 3, tokens, generator=generator)
    importance = token_importance(affinity, tiny_config(importance_topk=largest))
    indices = select_tokens(importance, ratio)
    assert indices.shape == (2, 3, max(int(tokens * ratio), 1))
    for b in range(2):
        for r in range(3):
            columns = [sorted(affinity[b, :, r, n].tolist(), reverse=True) for n in range(tokens)]
            scores = [sum(column[:largest]) for column in columns]
            order = sorted(range(tokens), key=lambda n: -scores[n])
            assert indices[b, r].tolist() == sorted(order[: indices.shape[2]])


def test_average_ranks_as_the_sum_over_all_pixels():
    """The row "Average" of Table 5.5 was run with n = all tokens."""
    affinity = torch.randn(2, 20, 3, 30)
    mean = token_importance(affinity, tiny_config(importance="mean"))
    total = token_importance(affinity, tiny_config(importance_topk=100))
    assert_close(mean * 20, total, atol=1e-5, rtol=0)
    assert (select_tokens(mean, 0.5) != select_tokens(token_importance(affinity, tiny_config()), 0.5)).any()


def test_resizing_the_axis_of_references():
    values = torch.randn(2, 4, 3, 6)
    assert resize_tokens(values, (2, 3), (2, 3)) is values
    resized = resize_tokens(values, (2, 3), (4, 6))
    expected = F.interpolate(values.view(24, 1, 2, 3), (4, 6), mode="bilinear").view(2, 4, 3, 24)
    assert_close(resized, expected)
