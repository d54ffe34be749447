"""A frozen encoder stays as it is, in training too."""

import copy

import torch
from torch import nn

from dense_hf.training.batch_norm import freeze


def test_a_frozen_encoder_is_the_same_after_training():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    pixels = 5 + torch.randn(2, 3, 8, 8)
    encoder[1].running_mean += 1
    before, expected = copy.deepcopy(encoder.state_dict()), encoder.eval()(pixels)
    model = nn.Sequential(encoder, nn.Conv2d(4, 1, 1))
    freeze(encoder)
    nn.SyncBatchNorm.convert_sync_batchnorm(model)  # of several GPUs, replaces norms
    for _ in range(2):
        model.train()
        assert torch.equal(encoder(pixels), expected)
        model(pixels).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert model[1].weight.grad is not None
