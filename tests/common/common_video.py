"""What the common tests of transformers need to know of a model that segments video. Each skip says why."""

import unittest

import torch
from upstream_tests import fetch

fetch()

from tiny_video import TINY_ENCODER, random_labels  # noqa: E402
from transformers_common_tests.test_configuration_common import ConfigTester  # noqa: E402
from transformers_common_tests.test_modeling_common import ModelTesterMixin, floats_tensor  # noqa: E402


class VideoModelTester:
    """A tiny model and its inputs, as the common tests want to be told."""

    batch_size = 2
    num_frames = 4
    image_size = 32
    is_training = True
    num_hidden_layers = 2
    hidden_size = 32
    num_attention_heads = 4

    def __init__(self, parent: unittest.TestCase, tiny_config):
        self.parent, self.tiny_config = parent, tiny_config

    def get_config(self):
        """No dropout, so that two runs agree."""
        return self.tiny_config(encoder_config=TINY_ENCODER | {"drop_path_rate": 0.0}, classifier_dropout_prob=0.0)

    def prepare_config_and_inputs_for_common(self) -> tuple:
        size = [self.batch_size, self.num_frames, 3, self.image_size, self.image_size]
        return self.get_config(), {"pixel_values": floats_tensor(size)}


class VideoModelTesterMixin(ModelTesterMixin):
    """All common tests, with the class that has a head. A subclass names `all_model_classes` and has `tiny_config`."""

    pipeline_model_mapping: dict = {}
    test_resize_embeddings = False  # there are no token embeddings
    common_properties = ["hidden_size"]
    model_tester_class = VideoModelTester

    def setUp(self):
        self.model_tester = self.model_tester_class(self, self.tiny_config)
        self.config_tester = ConfigTester(
            self,
            config_class=self.all_model_classes[0].config_class,
            has_text_modality=False,
            common_properties=self.common_properties,
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels:
            inputs_dict["labels"] = random_labels(inputs_dict["pixel_values"])
        return inputs_dict

    @unittest.skip("pixels go in, there are no input embeddings")
    def test_model_get_set_embeddings(self):
        pass

    def test_attention_outputs(self):
        """As upstream, less its one size for all layers: queries and keys of the encoder shrink from map to map."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = self.all_model_classes[0]._from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            attentions = model(**inputs, output_attentions=True).attentions
        heads, sides = config.encoder_config.num_attention_heads, (8, 4, 2, 1)
        for weights, head_count, side in zip(attentions, heads, sides, strict=True):
            assert weights.shape == (8, head_count, side**2, 1)

    def test_hidden_states_output(self):
        """As upstream, less its one size for all layers."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for where in ("argument", "config"):
            config.output_hidden_states = where == "config"
            model = self.all_model_classes[0](config).eval()
            with torch.no_grad():
                asked = {"output_hidden_states": True} if where == "argument" else {}
                maps = model(**inputs, **asked).hidden_states
                assert where == "config" or model(**inputs).hidden_states is None
            widths = config.encoder_config.hidden_sizes
            assert [tuple(one.shape) for one in maps] == [(8, c, s, s) for c, s in zip(widths, (8, 4, 2, 1))]

    def test_config(self):
        self.config_tester.run_common_tests()
