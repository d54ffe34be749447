"""The common tests of transformers against the density counters (`make test-common`)."""

import unittest

import pytest
from common_model import CommonTests, MapsOfManySizes
from tiny_density_counter import random_points, tiny_density_config

from dense_hf import DensityCounterForObjectCounting

pytestmark = [pytest.mark.common, pytest.mark.network]


class DensityCounterModelTest(MapsOfManySizes, CommonTests, unittest.TestCase):
    """What is special about it."""

    all_model_classes = (DensityCounterForObjectCounting,)
    tiny_config = staticmethod(lambda: tiny_density_config("can"))
    common_properties = []
    has_attentions = False  # a convolutional network

    def random_labels(self, inputs):
        return {"labels": random_points((3, 1))}

    def map_shapes(self, config):
        return [(2, 48, 4, 4), (2, 48, 4, 4), (2, 4, 4, 4)]
