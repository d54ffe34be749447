"""The common tests of transformers against MRCFA (`make test-common`)."""

import unittest

import pytest
from common_video import VideoModelTesterMixin
from tiny_mrcfa import tiny_config

from dense_hf import MRCFAForVideoSemanticSegmentation

pytestmark = [pytest.mark.common, pytest.mark.network]


class MRCFAModelTest(VideoModelTesterMixin, unittest.TestCase):
    """What is special about it."""

    all_model_classes = (MRCFAForVideoSemanticSegmentation,)
    make_config = staticmethod(tiny_config)
