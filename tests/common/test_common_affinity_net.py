"""The common tests of transformers against AffinityNet (`make test-common`). Each skip says why."""

import unittest

import pytest
import torch
from upstream_tests import fetch

fetch()

from tiny_affinity import tiny_affinity_config  # noqa: E402
from transformers_common_tests.test_configuration_common import ConfigTester  # noqa: E402
from transformers_common_tests.test_modeling_common import ModelTesterMixin, floats_tensor  # noqa: E402

from dense_hf import AffinityNetConfig, AffinityNetModel  # noqa: E402

pytestmark = [pytest.mark.common, pytest.mark.network]


class AffinityNetModelTester:
    """A tiny model, with ResNet-38, and its inputs, as the common tests want to be told."""

    batch_size = 2
    image_size = 32
    is_training = True
    hidden_size = 12

    def __init__(self, parent: unittest.TestCase):
        self.parent = parent

    def get_config(self) -> AffinityNetConfig:
        return tiny_affinity_config()

    def prepare_config_and_inputs_for_common(self) -> tuple[AffinityNetConfig, dict]:
        size = [self.batch_size, 3, self.image_size, self.image_size]
        return self.get_config(), {"pixel_values": floats_tensor(size)}


class AffinityNetModelTest(ModelTesterMixin, unittest.TestCase):
    """All common tests."""

    all_model_classes = (AffinityNetModel,)
    pipeline_model_mapping: dict = {}
    test_resize_embeddings = False  # there are no token embeddings
    has_attentions = False  # a convolutional network

    def setUp(self):
        self.model_tester = AffinityNetModelTester(self)
        self.config_tester = ConfigTester(
            self, config_class=AffinityNetConfig, has_text_modality=False, common_properties=[]
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels:
            torch.manual_seed(0)
            inputs_dict["labels"] = torch.randint(0, 2, (self.model_tester.batch_size, 4, 4))
        return inputs_dict

    @unittest.skip("pixels go in, there are no input embeddings")
    def test_model_get_set_embeddings(self):
        pass

    def test_hidden_states_output(self):
        """As upstream, less its one size for all layers."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for where in ("argument", "config"):
            config.output_hidden_states = where == "config"
            model = AffinityNetModel(config).eval()
            with torch.no_grad():
                maps = model(**inputs, **({"output_hidden_states": True} if where == "argument" else {})).hidden_states
                assert where == "config" or model(**inputs).hidden_states is None
            assert [tuple(one.shape) for one in maps] == [(2, channels, 4, 4) for channels in (16, 32, 128, 12)]

    def test_config(self):
        self.config_tester.run_common_tests()
