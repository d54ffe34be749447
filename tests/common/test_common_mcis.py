"""The common tests of transformers against MCIS (`make test-common`). Each skip says why."""

import unittest

import pytest
import torch
from upstream_tests import fetch

fetch()

from tiny_mcis import random_labels, tiny_config  # noqa: E402
from transformers_common_tests.test_configuration_common import ConfigTester  # noqa: E402
from transformers_common_tests.test_modeling_common import ModelTesterMixin, floats_tensor  # noqa: E402

from dense_hf import MCISConfig, MCISForImageClassification  # noqa: E402

pytestmark = [pytest.mark.common, pytest.mark.network]


class MCISModelTester:
    """A tiny model and its inputs, as the common tests want to be told."""

    batch_size = 2
    image_size = 32
    is_training = True
    hidden_size = 16

    def __init__(self, parent: unittest.TestCase):
        self.parent = parent

    def get_config(self) -> MCISConfig:
        return tiny_config()

    def prepare_config_and_inputs_for_common(self) -> tuple[MCISConfig, dict]:
        size = [self.batch_size, 3, self.image_size, self.image_size]
        return self.get_config(), {"pixel_values": floats_tensor(size), "paired_pixel_values": floats_tensor(size)}


class MCISModelTest(ModelTesterMixin, unittest.TestCase):
    """All common tests, with the class that has a head."""

    all_model_classes = (MCISForImageClassification,)
    pipeline_model_mapping: dict = {}
    test_resize_embeddings = False  # there are no token embeddings
    has_attentions = False  # the weights of the co-attention are never kept

    def setUp(self):
        self.model_tester = MCISModelTester(self)
        self.config_tester = ConfigTester(
            self, config_class=MCISConfig, has_text_modality=False, common_properties=["hidden_size"]
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels:
            inputs_dict["labels"] = random_labels(seed=1)
            inputs_dict["paired_labels"] = random_labels(seed=2)
        return inputs_dict

    @unittest.skip("pixels go in, there are no input embeddings")
    def test_model_get_set_embeddings(self):
        pass

    def test_hidden_states_output(self):
        """As upstream, less its one size for all layers."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for where in ("argument", "config"):
            config.output_hidden_states = where == "config"
            model = MCISForImageClassification(config).eval()
            with torch.no_grad():
                maps = model(**inputs, **({"output_hidden_states": True} if where == "argument" else {})).hidden_states
                assert where == "config" or model(**inputs).hidden_states is None
            widths, sides = (4, 6, 8, 16, 16, 16), (32, 16, 8, 4, 4, 4)
            assert [tuple(one.shape) for one in maps] == [(2, c, s, s) for c, s in zip(widths, sides)]

    def test_config(self):
        self.config_tester.run_common_tests()
