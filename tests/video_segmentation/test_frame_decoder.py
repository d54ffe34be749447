"""The decoder at the maps' own sizes is SegFormer's decoder, in training and in inference."""

import pytest
import torch
from tiny_cffm import tiny_config
from torch.testing import assert_close
from transformers.models.segformer.modeling_segformer import SegformerDecodeHead

from dense_hf.video_segmentation.frame_decoder import FrameDecoder, halve


@pytest.fixture(params=[(16, 24), (15, 21)], ids=["even", "odd"])
def maps(request):
    height, width = request.param
    torch.manual_seed(0)
    sizes = [(-(-height // 2**n), -(-width // 2**n)) for n in range(4)]
    return [torch.randn(2, channels, *size) for channels, size in zip((8, 8, 16, 16), sizes)]


def pair() -> tuple[FrameDecoder, SegformerDecodeHead]:
    """Ours and that of transformers, with the same random weights."""
    config = tiny_config(classifier_dropout_prob=0.0)
    ours = FrameDecoder(config, config.encoder_config.hidden_sizes)
    config.encoder_config.update({"decoder_hidden_size": 32, "classifier_dropout_prob": 0.0, "num_labels": 5})
    theirs = SegformerDecodeHead(config.encoder_config)
    torch.nn.init.normal_(ours.batch_norm.weight)
    torch.nn.init.normal_(ours.batch_norm.bias)
    ours.batch_norm.running_mean.normal_()
    ours.batch_norm.running_var.uniform_(0.5, 2)
    for index, projection in enumerate(theirs.linear_projections):
        projection.proj.load_state_dict(ours.projections[index].state_dict())
    for name, other in (("fuse", "linear_fuse"), ("batch_norm", "batch_norm"), ("classifier", "classifier")):
        getattr(theirs, other).load_state_dict(getattr(ours, name).state_dict())
    return ours, theirs


@pytest.mark.parametrize("training", [True, False])
def test_logits_gradients_and_statistics(maps, training):
    ours, theirs = (module.train(training) for module in pair())
    logits, expected = ours.classify(ours(tuple(maps))), theirs(maps)
    assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(logits)
    (logits * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_close(ours.fuse.weight.grad, theirs.linear_fuse.weight.grad, atol=1e-3, rtol=1e-4)
    assert_close(ours.batch_norm.weight.grad, theirs.batch_norm.weight.grad, atol=1e-3, rtol=1e-4)
    for index, projection in enumerate(theirs.linear_projections):
        assert_close(ours.projections[index].weight.grad, projection.proj.weight.grad, atol=1e-3, rtol=1e-4)
    assert_close(ours.batch_norm.running_var, theirs.batch_norm.running_var, atol=1e-5, rtol=1e-5)


def test_halving_even_sizes_is_the_mean_of_four():
    features = torch.randn(1, 2, 6, 8)
    expected = features.view(1, 2, 3, 2, 4, 2).mean((3, 5))
    assert_close(halve(features), expected)
    assert halve(torch.randn(1, 2, 31, 1)).shape == (1, 2, 15, 1)
