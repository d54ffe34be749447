"""The common tests of transformers against AffinityNet (`make test-common`), with ResNet-38."""

import unittest

import pytest
import torch
from common_model import CommonTests, MapsOfManySizes
from tiny_affinity import tiny_affinity_config

from dense_hf import AffinityNetModel

pytestmark = [pytest.mark.common, pytest.mark.network]


class AffinityNetModelTest(MapsOfManySizes, CommonTests, unittest.TestCase):
    """What is special about it."""

    all_model_classes = (AffinityNetModel,)
    tiny_config = staticmethod(tiny_affinity_config)
    sizes = {"hidden_size": 12}
    common_properties = []
    has_attentions = False  # a convolutional network

    def random_labels(self, inputs):
        torch.manual_seed(0)
        return {"labels": torch.randint(0, 2, (self.model_tester.batch_size, 4, 4))}

    def map_shapes(self, config):
        return [(2, channels, 4, 4) for channels in (16, 32, 128, 12)]
