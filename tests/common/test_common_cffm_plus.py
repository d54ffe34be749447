"""The common tests of transformers against CFFM++ (`make test-common`): those of CFFM, with prototypes.

Each skip says why.
"""

import unittest

import pytest
from common_video import VideoModelTester, VideoModelTesterMixin
from tiny_cffm import tiny_config
from tiny_cffm_plus import random_prototypes

from dense_hf import CFFMPlusConfig, CFFMPlusForVideoSemanticSegmentation

pytestmark = [pytest.mark.common, pytest.mark.network]


def tiny_plus_config(**fields) -> CFFMPlusConfig:
    """Fields that CFFM has too, as there."""
    values = tiny_config(**fields).to_dict()
    return CFFMPlusConfig.from_dict({name: value for name, value in values.items() if name != "model_type"})


class CFFMPlusModelTester(VideoModelTester):
    """A tiny model and its inputs."""

    def prepare_config_and_inputs_for_common(self) -> tuple[CFFMPlusConfig, dict]:
        config, inputs = super().prepare_config_and_inputs_for_common()
        return config, inputs | {"prototypes": random_prototypes(self.batch_size, width=self.hidden_size)}


class CFFMPlusModelTest(VideoModelTesterMixin, unittest.TestCase):
    """What is special about it."""

    all_model_classes = (CFFMPlusForVideoSemanticSegmentation,)
    model_tester_class = CFFMPlusModelTester
    make_config = staticmethod(tiny_plus_config)
    common_properties = ["hidden_size", "num_attention_heads", "num_hidden_layers"]

    @unittest.skip("nothing before the branch learns, so no gradient goes to hidden states and attentions")
    def test_retain_grad_hidden_states_attentions(self):
        pass

    # upstream counts the runs of the first layer, which is one of the frozen encoder's and runs once;
    # `test_gradient_checkpointing` in test_modeling_cffm_plus.py looks at the layer that learns, in both variants
    @unittest.skip("the first checkpointed layer is frozen")
    def test_training_gradient_checkpointing(self):
        pass

    @unittest.skip("the first checkpointed layer is frozen")
    def test_training_gradient_checkpointing_use_reentrant_false(self):
        pass

    @unittest.skip("the first checkpointed layer is frozen")
    def test_training_gradient_checkpointing_use_reentrant_true(self):
        pass
