"""The common tests of transformers against MCIS (`make test-common`)."""

import unittest

import pytest
from common_model import CommonTests, MapsOfManySizes, ModelTester
from tiny_mcis import random_labels, tiny_config

from dense_hf import MCISConfig, MCISForImageClassification

pytestmark = [pytest.mark.common, pytest.mark.network]


class MCISModelTester(ModelTester):
    """A tiny model and its inputs: pairs of images."""

    def prepare_config_and_inputs_for_common(self) -> tuple[MCISConfig, dict]:
        config, inputs = super().prepare_config_and_inputs_for_common()
        return config, inputs | {"paired_pixel_values": self.random_images()}


class MCISModelTest(MapsOfManySizes, CommonTests, unittest.TestCase):
    """What is special about it."""

    all_model_classes = (MCISForImageClassification,)
    model_tester_class = MCISModelTester
    tiny_config = staticmethod(tiny_config)
    sizes = {"hidden_size": 16}
    has_attentions = False  # the weights of the co-attention are never kept

    def random_labels(self, inputs):
        return {"labels": random_labels(seed=1), "paired_labels": random_labels(seed=2)}

    def map_shapes(self, config):
        widths, sides = (4, 6, 8, 16, 16, 16), (32, 16, 8, 4, 4, 4)
        return [(2, width, side, side) for width, side in zip(widths, sides)]
