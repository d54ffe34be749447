"""What the common tests of transformers need to know of any model of ours. Each skip says why."""

import unittest

import torch
from torch._tensor_str import PRINT_OPTS
from upstream_tests import fetch

fetch()

from transformers_common_tests.test_configuration_common import ConfigTester  # noqa: E402
from transformers_common_tests.test_modeling_common import ModelTesterMixin, floats_tensor  # noqa: E402


class ModelTester:
    """A tiny model and its inputs, as the common tests want to be told.

    Args:
        parent: the test.
        get_config: makes the configuration.
        sizes: of the model and its inputs, as attributes.
    """

    batch_size = 2
    image_size = 32
    is_training = True

    def __init__(self, parent: unittest.TestCase, get_config, **sizes):
        self.parent, self.get_config = parent, get_config
        vars(self).update(sizes)

    def prepare_config_and_inputs_for_common(self) -> tuple:
        return self.get_config(), {"pixel_values": self.random_images()}

    def random_images(self) -> torch.Tensor:
        """Pixels [B, 3, H, W]."""
        return floats_tensor([self.batch_size, 3, self.image_size, self.image_size])


class CommonTests(ModelTesterMixin):
    """All common tests, with the class that has a head.

    A subclass names `all_model_classes`, `tiny_config` and `sizes`, and where they differ the others below;
    `map_shapes` says which shapes `hidden_states` have.
    """

    pipeline_model_mapping: dict = {}
    test_resize_embeddings = False  # there are no token embeddings
    common_properties = ["hidden_size"]
    model_tester_class = ModelTester
    sizes: dict = {}

    def setUp(self):
        self.model_tester = self.model_tester_class(self, self.tiny_config, **self.sizes)
        self.config_tester = ConfigTester(
            self,
            config_class=self.all_model_classes[0].config_class,
            has_text_modality=False,
            common_properties=self.common_properties,
        )
        if not getattr(self.config_tester.config_class, "counts_classes", True):  # it refuses the 5 labels of the test
            self.config_tester.create_and_test_config_with_num_labels = lambda: None

    def random_labels(self, inputs: dict) -> dict:
        """What training needs besides the inputs."""
        raise NotImplementedError

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        return inputs_dict | self.random_labels(inputs_dict) if return_labels else inputs_dict

    @unittest.skip("pixels go in, there are no input embeddings")
    def test_model_get_set_embeddings(self):
        pass

    def test_config(self):
        self.config_tester.run_common_tests()

    def test_bc_torch_dtype(self):
        """As upstream, whose messages write every number, though nothing fails: most of its time."""
        before = vars(PRINT_OPTS).copy()
        torch.set_printoptions(threshold=0, edgeitems=1)
        try:
            super().test_bc_torch_dtype()
        finally:
            vars(PRINT_OPTS).update(before)


class MapsOfManySizes:
    """For models whose hidden states have not one size for all layers."""

    def map_shapes(self, config) -> list[tuple[int, ...]]:
        """The shapes of `hidden_states`."""
        raise NotImplementedError

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
            assert [tuple(one.shape) for one in maps] == self.map_shapes(config)
