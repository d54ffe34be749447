"""The common tests of transformers against DeepLab-LargeFOV (`make test-common`). Each skip says why."""

import unittest

import pytest
import torch
from upstream_tests import fetch

fetch()

from tiny_deeplab import tiny_segmenter_config  # noqa: E402
from transformers_common_tests.test_configuration_common import ConfigTester  # noqa: E402
from transformers_common_tests.test_modeling_common import ModelTesterMixin, floats_tensor  # noqa: E402

from dense_hf.weak_segmentation import DeepLabLargeFOVConfig, DeepLabLargeFOVForSemanticSegmentation  # noqa: E402

pytestmark = [pytest.mark.common, pytest.mark.network]


class DeepLabModelTester:
    """A tiny model and its inputs, as the common tests want to be told."""

    batch_size = 2
    image_size = 33
    is_training = True
    hidden_size = 8

    def __init__(self, parent: unittest.TestCase):
        self.parent = parent

    def get_config(self) -> DeepLabLargeFOVConfig:
        return tiny_segmenter_config()

    def prepare_config_and_inputs_for_common(self) -> tuple[DeepLabLargeFOVConfig, dict]:
        size = [self.batch_size, 3, self.image_size, self.image_size]
        return self.get_config(), {"pixel_values": floats_tensor(size)}


class DeepLabModelTest(ModelTesterMixin, unittest.TestCase):
    """All common tests, with the class that has a head."""

    all_model_classes = (DeepLabLargeFOVForSemanticSegmentation,)
    pipeline_model_mapping: dict = {}
    test_resize_embeddings = False  # there are no token embeddings
    has_attentions = False  # a convolutional network

    def setUp(self):
        self.model_tester = DeepLabModelTester(self)
        self.config_tester = ConfigTester(
            self, config_class=DeepLabLargeFOVConfig, has_text_modality=False, common_properties=["hidden_size"]
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels:
            torch.manual_seed(0)
            side = self.model_tester.image_size
            inputs_dict["labels"] = torch.randint(0, 5, (self.model_tester.batch_size, side, side))
        return inputs_dict

    @unittest.skip("pixels go in, there are no input embeddings")
    def test_model_get_set_embeddings(self):
        pass

    def test_hidden_states_output(self):
        """As upstream, less its one size for all layers."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for where in ("argument", "config"):
            config.output_hidden_states = where == "config"
            model = DeepLabLargeFOVForSemanticSegmentation(config).eval()
            with torch.no_grad():
                maps = model(**inputs, **({"output_hidden_states": True} if where == "argument" else {})).hidden_states
                assert where == "config" or model(**inputs).hidden_states is None
            shapes = [tuple(one.shape) for one in maps]
            assert shapes == [(2, 8, 9, 9), (2, 8, 5, 5), (2, 16, 5, 5), (2, 16, 5, 5)], shapes

    def test_config(self):
        self.config_tester.run_common_tests()
