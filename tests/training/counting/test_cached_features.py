"""A training with kept features is the training without: the same bits, and less work."""

import pytest
import torch
import yaml

from dense_hf.counting.configuration_iocformer import IOCFormerConfig
from dense_hf.counting.counting_backbone import build_backbone
from dense_hf.counting.image_processing_counter import CounterImageProcessor
from dense_hf.data.counting_examples import read_examples
from dense_hf.training.counting.augmentation import CountingAugmentation
from dense_hf.training.counting.crops import CropRule, CropTrainingSet
from dense_hf.training.counting.options import CountingDataArguments, parse_counting_run
from dense_hf.training.counting.run import train_counter
from dense_hf.training.feature_cache import cached_features

pytestmark = pytest.mark.no_cover

FROZEN = {"num_frozen_backbone_stages": 5, "freeze_backbone_batch_norm": True}


def train(tiny_model, tiny_set, folder, **data):
    """Two epochs and a half, so that crops come again; returns the folder of the last checkpoint."""
    sections = {
        "model": tiny_model | FROZEN,
        "data": {"fixed_crops": True, "samples_per_image": 2, **data},
        "training": {
            "per_device_train_batch_size": 4,  # 12 crops an epoch
            "max_steps": 8,
            "learning_rate": 1.0e-3,
            "eval_strategy": "no",
            "load_best_model_at_end": False,
            "save_strategy": "steps",
            "save_steps": 8,
            "disable_tqdm": True,
        },
    }
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    words = ["--config", str(file), "--data_dir", str(tiny_set), "--output_dir", str(folder), "--report_to", "none"]
    train_counter(parse_counting_run("iocformer", arguments=words), judged=())
    return folder / "checkpoint-8"


def test_the_training_is_the_same_bit_for_bit(tiny_model, tiny_set, tmp_path, same_weights):
    without = train(tiny_model, tiny_set, tmp_path / "without")
    assert same_weights(without, train(tiny_model, tiny_set, tmp_path / "with", feature_cache=True))
    other = train(tiny_model, tiny_set, tmp_path / "other", feature_cache=True, horizontal_flip=1.0)
    assert not same_weights(without, other)


def test_each_crop_is_computed_once_in_training_and_always_otherwise(tiny_model):
    torch.manual_seed(0)
    backbone = build_backbone(IOCFormerConfig(**tiny_model | FROZEN)).train()
    crops, seen = torch.rand(4, 3, 64, 64), []
    backbone.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    first = backbone(crops).feature_maps[-1]
    plain = backbone.forward
    with cached_features(backbone) as cache:
        assert torch.equal(backbone(crops).feature_maps[-1], first)
        again = backbone(crops[[2, 0]]).feature_maps[-1]
        assert torch.equal(again, first[[2, 0]])
        assert len(cache) == 4
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cache, "_compute", lambda *inputs, **options: pytest.fail("computed once more"))
            backbone(crops[[3, 1, 3]])
        backbone.eval()
        backbone(torch.rand(1, 3, 64, 64))
        assert len(cache) == 4
    assert backbone.forward == plain
    assert "forward" not in vars(backbone)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_frozen_backbone_stages": 2}, "num_frozen_backbone_stages"),
        ({"freeze_backbone_batch_norm": False}, "freeze_backbone_batch_norm"),
    ],
)
def test_a_backbone_that_changes_is_refused(tiny_model, fields, words):
    backbone = build_backbone(IOCFormerConfig(**tiny_model | FROZEN | fields))
    with pytest.raises(ValueError, match=words), cached_features(backbone):
        pass


def test_features_of_crops_that_change_are_refused():
    with pytest.raises(ValueError, match="fixed_crops"):
        CountingDataArguments(feature_cache=True)


def test_fixed_crops_are_those_of_the_first_epoch(tiny_set):
    examples = read_examples(tiny_set, ["train"], progress=False)["train"]
    arguments = (examples, CounterImageProcessor(), CropRule(32), CountingAugmentation(), 1)
    fixed, free = CropTrainingSet(*arguments, fixed=True), CropTrainingSet(*arguments)
    for index in range(len(examples)):
        assert torch.equal(fixed[7, index]["pixel_values"], free[0, index]["pixel_values"])
    assert any(
        not torch.equal(free[7, index]["pixel_values"], free[0, index]["pixel_values"])
        for index in range(len(examples))
    )
