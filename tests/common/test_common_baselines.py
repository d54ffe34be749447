"""The common tests of transformers against MCNN, MAN, DSSI-Net, MPS, LCFCN and P2PNet (`make test-common`)."""

import unittest
from functools import partial

import pytest
from common_model import CommonTests, MapsOfManySizes, ModelTester
from tiny_counters import tiny_counter_config
from tiny_density_counter import random_points

from dense_hf import (
    DSSINetForObjectCounting,
    LCFCNForObjectCounting,
    MANForObjectCounting,
    MCNNForObjectCounting,
    MSPSNetForObjectCounting,
    P2PNetForObjectCounting,
)

pytestmark = [pytest.mark.common, pytest.mark.network]


class CounterTester(ModelTester):
    """Images that every network can halve often enough."""

    image_size = 64


class CounterTests(MapsOfManySizes, CommonTests):
    """What is special about counters."""

    model_tester_class = CounterTester
    common_properties = []
    has_attentions = False  # convolutional networks; MAN's attention has weights that no other implementation knows

    def random_labels(self, inputs):
        return {"labels": random_points((3, 1))}


class MCNNModelTest(CounterTests, unittest.TestCase):
    """What is special about MCNN."""

    all_model_classes = (MCNNForObjectCounting,)
    tiny_config = staticmethod(partial(tiny_counter_config, "mcnn"))

    def map_shapes(self, config):
        return [(2, 3, 16, 16)] * 2


class MANModelTest(CounterTests, unittest.TestCase):
    """What is special about MAN."""

    all_model_classes = (MANForObjectCounting,)
    tiny_config = staticmethod(partial(tiny_counter_config, "man", dropout=0.0))

    def map_shapes(self, config):
        return [(2, 96, 2, 2)] * 3 + [(2, 4, 4, 4)]


class DSSINetModelTest(CounterTests, unittest.TestCase):
    """What is special about DSSI-Net."""

    all_model_classes = (DSSINetForObjectCounting,)
    tiny_config = staticmethod(partial(tiny_counter_config, "dssinet"))

    def map_shapes(self, config):
        return [(2, 10, 64, 64), (2, 18, 32, 32), (2, 22, 16, 16), (2, 16, 8, 8), (2, 8, 4, 4)]


class MSPSNetModelTest(CounterTests, unittest.TestCase):
    """What is special about MPS."""

    all_model_classes = (MSPSNetForObjectCounting,)
    tiny_config = staticmethod(partial(tiny_counter_config, "mspsnet"))

    def map_shapes(self, config):
        return [(2, 4, 4, 4)] * 3


class LCFCNModelTest(CounterTests, unittest.TestCase):
    """What is special about LCFCN."""

    all_model_classes = (LCFCNForObjectCounting,)
    tiny_config = staticmethod(partial(tiny_counter_config, "lcfcn", dropout=0.0))

    def map_shapes(self, config):
        sides = (262, 131, 66, 33, 17)
        return [(2, channels, side, side) for channels, side in zip((4, 6, 8, 8, 8), sides)]


class P2PNetModelTest(CounterTests, unittest.TestCase):
    """What is special about P2PNet."""

    all_model_classes = (P2PNetForObjectCounting,)
    tiny_config = staticmethod(partial(tiny_counter_config, "p2pnet", compat=False))

    def map_shapes(self, config):
        return [(2, 48, 8, 8), (2, 192, 4, 4), (2, 8, 8, 8)]
