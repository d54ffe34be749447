"""The common tests of transformers against IOCFormer (`make test-common`). Each skip says why."""

import unittest

import pytest
import torch
from upstream_tests import fetch

fetch()

from tiny_iocformer import random_labels, tiny_config  # noqa: E402
from transformers_common_tests.test_configuration_common import ConfigTester  # noqa: E402
from transformers_common_tests.test_modeling_common import ModelTesterMixin, floats_tensor  # noqa: E402

from dense_hf import IOCFormerConfig, IOCFormerForObjectCounting  # noqa: E402

pytestmark = [pytest.mark.common, pytest.mark.network]


class IOCFormerModelTester:
    """A tiny model and its inputs, as the common tests want to be told."""

    batch_size = 2
    image_size = 32
    is_training = True
    num_hidden_layers = 2
    hidden_size = 16
    num_attention_heads = 2
    num_queries = 12
    seq_length = 12  # decoder_seq_length of the encoder-decoder checks
    decoder_seq_length = 12
    encoder_seq_length = 16
    key_length = 16
    decoder_key_length = 12

    def __init__(self, parent: unittest.TestCase):
        self.parent = parent

    def get_config(self) -> IOCFormerConfig:
        """A backbone of transformers: timm's refuses `output_attentions`. No dropout, so that two runs agree."""
        backbone_config = {
            "model_type": "resnet",
            "depths": [1, 1],
            "hidden_sizes": [8, 16],
            "embedding_size": 8,
            "out_features": ["stage2"],
        }
        without_dropout = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
        return tiny_config(backbone_config=backbone_config, num_frozen_backbone_stages=0, **without_dropout)

    def prepare_config_and_inputs_for_common(self) -> tuple[IOCFormerConfig, dict]:
        return self.get_config(), {
            "pixel_values": floats_tensor([self.batch_size, 3, self.image_size, self.image_size]),
            "pixel_mask": torch.ones(self.batch_size, self.image_size, self.image_size, dtype=torch.long),
        }


class IOCFormerModelTest(ModelTesterMixin, unittest.TestCase):
    """All common tests, with the class that has a head."""

    all_model_classes = (IOCFormerForObjectCounting,)
    pipeline_model_mapping: dict = {}
    is_encoder_decoder = True
    test_resize_embeddings = False  # there are no token embeddings

    def setUp(self):
        self.model_tester = IOCFormerModelTester(self)
        self.config_tester = ConfigTester(
            self,
            config_class=IOCFormerConfig,
            has_text_modality=False,
            common_properties=["d_model", "encoder_attention_heads", "decoder_attention_heads"],
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels:
            inputs_dict["labels"] = random_labels()
        return inputs_dict

    @unittest.skip("pixels go in, there are no input embeddings")
    def test_model_get_set_embeddings(self):
        pass

    def test_attention_outputs(self):
        """As upstream, less its count of output fields, which is that of text models."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = IOCFormerForObjectCounting._from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            outputs = model(**inputs, output_attentions=True)
        tester = self.model_tester
        expected = {
            "encoder_attentions": (tester.encoder_seq_length, tester.key_length),
            "decoder_attentions": (tester.num_queries, tester.num_queries),
            "cross_attentions": (tester.num_queries, tester.key_length),
        }
        for name, (queries, keys) in expected.items():
            attentions = getattr(outputs, name)
            assert len(attentions) == tester.num_hidden_layers
            for weights in attentions:
                assert weights.shape == (tester.batch_size, tester.num_attention_heads, queries, keys)
                torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))

    def test_retain_grad_hidden_states_attentions(self):
        """As upstream, less the decoder's input, which is constant: queries start at zero."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = IOCFormerForObjectCounting._from_config(config, attn_implementation="eager")
        outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
        kept = [outputs.encoder_hidden_states[0], outputs.decoder_hidden_states[1]]
        kept += [outputs.encoder_attentions[0], outputs.decoder_attentions[1], outputs.cross_attentions[0]]
        for tensor in kept:
            tensor.retain_grad()
        outputs.logits.flatten()[0].backward()
        for tensor in kept:
            assert tensor.grad is not None

    def test_config(self):
        self.config_tester.run_common_tests()
