"""The table of models: every row is complete, and a model from files outside of the package is one row and no more."""

import pytest
import torch
from fresh_interpreter import run_fresh

from dense_hf import CFFMConfig, DeepLabLargeFOVConfig, IOCFormerConfig
from dense_hf.lazy_names import load_name
from dense_hf.methods import VIDEO, Method, add_method, converters, frame_offsets, method_of, methods

pytestmark = pytest.mark.no_cover

ROWS = pytest.mark.parametrize("row", methods().values(), ids=lambda row: row.name)


@ROWS
def test_a_row_names_classes_that_belong_together(row):
    assert row.config_class.model_type == row.name
    assert row.model_class.config_class is row.config_class
    assert hasattr(row.training_class, "output_dir")
    for name in (*row.auto_classes, *row.converters.values()):
        assert load_name(name) is not None
    assert isinstance(row.processor_class.__name__, str)


@ROWS
def test_every_auto_class_of_a_row_gives_its_model(row):
    plain = () if row.name == "upernet" else ("transformers:AutoModel",)  # transformers has none for it
    for name in (*plain, *row.auto_classes):
        expected = "SegformerModel" if (row.name, name) == ("segformer", "transformers:AutoModel") else None
        assert load_name(name)._model_mapping[row.config_class].__name__ == (expected or row.model_class.__name__)


@ROWS
def test_the_encoder_of_a_row_is_a_part_of_its_model(row):
    with torch.device("meta"):
        model = row.model_class(row.make_config("b0" if row.thesis_config else None, {}))
    names = [name for name, _ in model.named_parameters()]
    of_encoder = [name for name in names if name.startswith(f"{row.encoder}.")]
    assert 0 < len(of_encoder) < len(names)


@ROWS
def test_config_keys_are_fields_of_the_model_and_no_others(row):
    keys = row.config_keys
    assert len(keys) == len(set(keys))
    config = row.make_config(None, {})
    assert set(keys) <= set(config.to_dict())
    assert not {"model_type", "architectures", "torch_dtype", "backbone_defaults", "sub_configs"} & set(keys)


def test_config_keys_of_a_method_include_those_it_inherits():
    assert {"num_queries", "backbone_config", "density_branch"} <= set(method_of("iocformer").config_keys)
    assert {"encoder_config", "frame_offsets", "window_size"} <= set(method_of("cffm_plus").config_keys)
    assert {"depths", "decoder_hidden_size"} <= set(method_of("segformer").config_keys)


@pytest.mark.parametrize(
    ("config", "title"),
    [
        (IOCFormerConfig(), "IOCFormer"),
        (IOCFormerConfig(density_branch=False), "CLTR"),
        (IOCFormerConfig(regression_branch=False), "Density branch of IOCFormer"),
        (DeepLabLargeFOVConfig(), "DeepLab-LargeFOV"),
        (DeepLabLargeFOVConfig(head="deeplabv3"), "DeepLabV3"),
        (CFFMConfig(), "CFFM"),
    ],
)
def test_the_title_follows_the_config(config, title):
    assert method_of(config).title_of(config) == title


@pytest.mark.parametrize("name", ["cffm", "cffm_plus", "mrcfa", "segformer"])
def test_the_thesis_configuration_of_an_encoder(name):
    row = method_of(name, VIDEO)
    config = row.make_config("b0", {"num_labels": 7})
    assert type(config) is row.config_class
    assert config.num_labels == 7
    assert config.decoder_hidden_size == 256
    encoder = config if name == "segformer" else config.encoder_config
    assert list(encoder.hidden_sizes) == [32, 64, 160, 256]
    with pytest.raises(ValueError, match=r"backbone must be one of .* Received: 'b9'"):
        row.make_config("b9", {})


def test_fields_of_an_encoder_win_one_by_one():
    config = method_of("mrcfa").make_config("b1", {"encoder_config": {"drop_path_rate": 0.3}})
    assert config.encoder_config.drop_path_rate == 0.3
    assert list(config.encoder_config.hidden_sizes) == [64, 128, 320, 512]
    segformer = method_of("segformer").make_config("b1", {"decoder_hidden_size": 64})
    assert segformer.decoder_hidden_size == 64


def test_a_backbone_is_refused_where_a_method_has_no_choice():
    with pytest.raises(ValueError, match=r"IOCFormer has one backbone.*'b1'"):
        method_of("iocformer").make_config("b1", {})
    assert method_of("iocformer").make_config(None, {"num_queries": 5}).num_queries == 5


def test_a_row_is_found_by_name_config_and_class():
    assert method_of("cffm") is method_of(CFFMConfig) is method_of(CFFMConfig())


def test_who_asks_for_a_model_that_is_not_there_reads_which_are():
    with pytest.raises(ValueError, match=r"iocformer, .*mcis, .*segformer.* Received: nothing"):
        method_of("nothing")
    with pytest.raises(ValueError, match=r"one of cffm, cffm_plus, mrcfa, segformer, .*tcb.*. Received: iocformer"):
        method_of("iocformer", VIDEO)


def test_frames_of_a_clip_come_from_the_config_or_the_row():
    assert frame_offsets(CFFMConfig(frame_offsets=[3, 2, 1])) == (3, 2, 1)
    assert frame_offsets(method_of("segformer").make_config("b0", {})) == (9, 6, 3)
    assert frame_offsets(method_of("pspnet_video").make_config(None, {})) == (9, 6, 3)
    assert frame_offsets(method_of("netwarp").make_config(None, {})) == (1,)
    with pytest.raises(ValueError, match="iocformer takes no clips"):
        frame_offsets(IOCFormerConfig())


@pytest.mark.parametrize("taken", [{"name": "cffm"}, {"name": "resnet38"}, {"converters": {"cltr": "toy:convert"}}])
def test_a_name_that_is_taken_is_refused(taken):
    row = Method(**({"name": "toy", "title": "Toy", "task": VIDEO} | dict.fromkeys(CLASSES, "toy:Toy") | taken))
    with pytest.raises(ValueError, match=r"names of its own. Received: (cffm|resnet38|cltr)"):
        add_method(row)
    assert "toy" not in methods()
    assert converters()["cltr"].endswith(":convert_cltr")


CLASSES = ("config", "model", "processor", "training")

TOY = '''
"""A counter that says 3 plus a weight."""
from huggingface_hub.dataclasses import strict
import torch
from transformers import BaseImageProcessor, PreTrainedConfig, PreTrainedModel

@strict
class ToyConfig(PreTrainedConfig):
    model_type = "toy"
    width: int = 2

class ToyForObjectCounting(PreTrainedModel):
    config_class = ToyConfig
    def __init__(self, config):
        super().__init__(config)
        self.backbone = torch.nn.Linear(3, config.width)
        self.head = torch.nn.Linear(config.width, 1)
        self.post_init()
    def forward(self, pixel_values=None):
        return self.head(self.backbone(pixel_values.mean((-2, -1))))

class ToyImageProcessor(BaseImageProcessor):
    pass

def convert_toy(tensors, **overrides):
    model = ToyForObjectCounting(ToyConfig(width=len(tensors["backbone.weight"]), **overrides)).eval()
    model.load_state_dict(tensors)
    return model
'''

ONE_ROW = """
from dense_hf.methods import COUNTING, Method, add_method, method_of
add_method(Method(
    "toy", "Toy", COUNTING, config="toy:ToyConfig", model="toy:ToyForObjectCounting",
    processor="toy:ToyImageProcessor", training="transformers:TrainingArguments",
    auto_classes=("dense_hf.auto:AutoModelForObjectCounting",), converters={"toy": "toy:convert_toy"},
))
import sys
assert "toy" not in sys.modules, "a row costs nothing until its model is used"
"""

USES = """
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel
from dense_hf import AutoModelForObjectCounting, convert_original_checkpoint
model = AutoModelForObjectCounting.from_config(AutoConfig.for_model("toy", width=4))
torch.save(model.state_dict(), "toy.pth")
convert_original_checkpoint("toy.pth", "toy").save_pretrained("saved")
method_of("toy").processor_class().save_pretrained("saved")
loaded = AutoModel.from_pretrained("saved")
assert type(loaded) is method_of(loaded.config).model_class
assert torch.equal(loaded.head.weight, model.head.weight)
assert type(AutoImageProcessor.from_pretrained("saved")) is method_of("toy").processor_class
"""


@pytest.mark.parametrize("before", ["", "from transformers import AutoConfig, AutoImageProcessor, AutoModel"])
def test_a_model_from_outside_is_one_row(tmp_path, before):
    """Converted, saved and loaded by every Auto class; and its code is saved beside the weights."""
    (tmp_path / "toy.py").write_text(TOY)
    run_fresh(f"{before}\n{ONE_ROW}{USES}", tmp_path)
    copied = (tmp_path / "saved" / "toy.py").read_text()
    assert copied.startswith(TOY)
    assert "from .object_counting import ObjectCountingPipeline" in copied[len(TOY) :]  # the pipeline travels along
    assert (tmp_path / "saved" / "object_counting.py").is_file()
