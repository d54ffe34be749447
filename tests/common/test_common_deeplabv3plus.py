"""The common tests of transformers against DeepLabv3+ for video (`make test-common`)."""

import unittest
from functools import partial

import pytest
from common_model import CommonTests, MapsOfManySizes, floats_tensor
from tiny_deeplabv3plus import tiny_config
from tiny_video import random_labels

from dense_hf import DeepLabV3PlusForVideoSemanticSegmentation

pytestmark = [pytest.mark.common, pytest.mark.network]


class DeepLabV3PlusModelTest(MapsOfManySizes, CommonTests, unittest.TestCase):
    """What is special about it."""

    all_model_classes = (DeepLabV3PlusForVideoSemanticSegmentation,)
    tiny_config = staticmethod(partial(tiny_config, decoder_aspp_dropout=0.0))
    sizes = {"hidden_size": 16}
    has_attentions = False

    def setUp(self):
        super().setUp()
        self.model_tester.random_images = lambda: floats_tensor([2, 1, 3, 32, 32])

    def random_labels(self, inputs):
        return {"labels": random_labels(inputs["pixel_values"])}

    def map_shapes(self, config):
        return [(2, 24, 8, 8), (2, 64, 2, 2)]
