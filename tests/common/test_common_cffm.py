"""The common tests of transformers against CFFM (`make test-common`)."""

import unittest

import pytest
from common_video import VideoModelTesterMixin
from tiny_cffm import tiny_config

from dense_hf import CFFMForVideoSemanticSegmentation

pytestmark = [pytest.mark.common, pytest.mark.network]


class CFFMModelTest(VideoModelTesterMixin, unittest.TestCase):
    """What is special about it."""

    all_model_classes = (CFFMForVideoSemanticSegmentation,)
    make_config = staticmethod(tiny_config)
    common_properties = ["hidden_size", "num_attention_heads", "num_hidden_layers"]
