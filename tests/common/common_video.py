"""What the common tests of transformers need to know of a model that segments video."""

import torch
from common_model import CommonTests, MapsOfManySizes, ModelTester, floats_tensor
from tiny_video import TINY_ENCODER, random_labels


class VideoModelTester(ModelTester):
    """A tiny model and its inputs, clips."""

    num_frames = 4
    num_hidden_layers = 2
    hidden_size = 32
    num_attention_heads = 4

    def random_images(self) -> torch.Tensor:
        """Pixels [B, T, 3, H, W]."""
        return floats_tensor([self.batch_size, self.num_frames, 3, self.image_size, self.image_size])


class VideoModelTesterMixin(MapsOfManySizes, CommonTests):
    """All common tests, with the class that has a head. A subclass names `all_model_classes` and `make_config`."""

    model_tester_class = VideoModelTester

    def tiny_config(self):
        """No dropout, so that two runs agree."""
        return self.make_config(encoder_config=TINY_ENCODER | {"drop_path_rate": 0.0}, classifier_dropout_prob=0.0)

    def random_labels(self, inputs):
        return {"labels": random_labels(inputs["pixel_values"])}

    def map_shapes(self, config):
        widths = config.encoder_config.hidden_sizes
        return [(8, width, side, side) for width, side in zip(widths, (8, 4, 2, 1))]

    def test_attention_outputs(self):
        """As upstream, less its one size for all layers: queries and keys of the encoder shrink from map to map."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = self.all_model_classes[0]._from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            attentions = model(**inputs, output_attentions=True).attentions
        heads, sides = config.encoder_config.num_attention_heads, (8, 4, 2, 1)
        for weights, head_count, side in zip(attentions, heads, sides, strict=True):
            assert weights.shape == (8, head_count, side**2, 1)
