"""The common tests of transformers against PSPNet, OCRNet, TCB and NetWarp for video (`make test-common`)."""

import unittest
from functools import partial

import pytest
from common_model import CommonTests, MapsOfManySizes, floats_tensor
from tiny_dilated import tiny_config
from tiny_video import random_labels

from dense_hf import (
    NetWarpForVideoSemanticSegmentation,
    OCRNetForVideoSemanticSegmentation,
    PSPNetForVideoSemanticSegmentation,
    TCBForVideoSemanticSegmentation,
)

pytestmark = [pytest.mark.common, pytest.mark.network]


class DilatedTests(MapsOfManySizes, CommonTests):
    """What is special about models with a dilated backbone. Clips of one frame, so that NetWarp needs no flow."""

    sizes = {"hidden_size": 16}
    has_attentions = False

    def setUp(self):
        super().setUp()
        self.model_tester.random_images = lambda: floats_tensor([2, 1, 3, 32, 32])

    def random_labels(self, inputs):
        return {"labels": random_labels(inputs["pixel_values"])}

    def map_shapes(self, config):
        return [(2, 192, 4, 4), (2, 96, 4, 4)]


class PSPNetModelTest(DilatedTests, unittest.TestCase):
    """What is special about PSPNet."""

    all_model_classes = (PSPNetForVideoSemanticSegmentation,)
    tiny_config = staticmethod(partial(tiny_config, "pspnet_video", classifier_dropout_prob=0.0))


class OCRNetModelTest(DilatedTests, unittest.TestCase):
    """What is special about OCRNet."""

    all_model_classes = (OCRNetForVideoSemanticSegmentation,)
    tiny_config = staticmethod(partial(tiny_config, "ocrnet_video", classifier_dropout_prob=0.0))


class TCBModelTest(DilatedTests, unittest.TestCase):
    """What is special about TCB."""

    all_model_classes = (TCBForVideoSemanticSegmentation,)
    tiny_config = staticmethod(partial(tiny_config, "tcb_ocr", classifier_dropout_prob=0.0))


class NetWarpModelTest(DilatedTests, unittest.TestCase):
    """What is special about NetWarp."""

    all_model_classes = (NetWarpForVideoSemanticSegmentation,)
    tiny_config = staticmethod(partial(tiny_config, "netwarp", classifier_dropout_prob=0.0))
