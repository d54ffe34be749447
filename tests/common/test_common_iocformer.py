"""The common tests of transformers against IOCFormer (`make test-common`). Each skip says why."""

import unittest

import pytest
import torch
from common_model import CommonTests, ModelTester
from tiny_iocformer import random_labels, tiny_config

from dense_hf import IOCFormerConfig, IOCFormerForObjectCounting

pytestmark = [pytest.mark.common, pytest.mark.network]


def config_without_dropout() -> IOCFormerConfig:
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


class IOCFormerModelTester(ModelTester):
    """A tiny model and its inputs."""

    num_hidden_layers = 2
    hidden_size = 16
    num_attention_heads = 2
    num_queries = 12
    seq_length = 12  # decoder_seq_length of the encoder-decoder checks
    decoder_seq_length = 12
    encoder_seq_length = 16
    key_length = 16
    decoder_key_length = 12

    def prepare_config_and_inputs_for_common(self) -> tuple[IOCFormerConfig, dict]:
        config, inputs = super().prepare_config_and_inputs_for_common()
        mask = torch.ones(self.batch_size, self.image_size, self.image_size, dtype=torch.long)
        return config, inputs | {"pixel_mask": mask}


class IOCFormerModelTest(CommonTests, unittest.TestCase):
    """What is special about it."""

    all_model_classes = (IOCFormerForObjectCounting,)
    model_tester_class = IOCFormerModelTester
    tiny_config = staticmethod(config_without_dropout)
    common_properties = ["d_model", "encoder_attention_heads", "decoder_attention_heads"]
    is_encoder_decoder = True

    def random_labels(self, inputs):
        return {"labels": random_labels()}

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
