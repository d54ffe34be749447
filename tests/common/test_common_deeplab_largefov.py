"""The common tests of transformers against DeepLab-LargeFOV (`make test-common`)."""

import unittest

import pytest
import torch
from common_model import CommonTests, MapsOfManySizes
from tiny_deeplab import tiny_segmenter_config

from dense_hf import DeepLabLargeFOVForSemanticSegmentation

pytestmark = [pytest.mark.common, pytest.mark.network]


class DeepLabModelTest(MapsOfManySizes, CommonTests, unittest.TestCase):
    """What is special about it."""

    all_model_classes = (DeepLabLargeFOVForSemanticSegmentation,)
    tiny_config = staticmethod(tiny_segmenter_config)
    sizes = {"image_size": 33, "hidden_size": 8}
    has_attentions = False  # a convolutional network

    def random_labels(self, inputs):
        torch.manual_seed(0)
        side = self.model_tester.image_size
        return {"labels": torch.randint(0, 5, (self.model_tester.batch_size, side, side))}

    def map_shapes(self, config):
        return [(2, 8, 9, 9), (2, 8, 5, 5), (2, 16, 5, 5), (2, 16, 5, 5)]
