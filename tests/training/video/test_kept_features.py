"""A training on video with kept features is the training without: the same bits, and less work."""

import pytest
import yaml
from tiny_video_runs import CFFM, DATA, TRAINING

from dense_hf.training.feature_cache import FeatureCache
from dense_hf.training.video.options import VideoDataArguments, parse_video_run
from dense_hf.training.video.run import train_video_model

BACKBONE = {"model_type": "timm_backbone", "backbone": "test_efficientnet", "features_only": True}


def train(video_set, folder, monkeypatch, frozen=True, **data):
    """Three rounds of 4 clips; returns the last checkpoint and how often the backbone has looked at them."""
    calls = []
    compute = FeatureCache.__call__
    monkeypatch.setattr(FeatureCache, "__call__", lambda *inputs, **more: calls.append(1) or compute(*inputs, **more))
    model = {key: value for key, value in CFFM.items() if key != "encoder_config"} | {"freeze_backbone": frozen}
    model["backbone_config"] = BACKBONE | {"out_indices": [1, 2, 3, 4]}
    sections = {
        "model": model,
        "data": DATA
        | {"data_dir": str(video_set), "samples_per_video": 1, "fixed_clips": True, "damage": 0.5, **data},
        "training": TRAINING | {"save_steps": 6},
    }
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    words = ["--config", str(file), "--output_dir", str(folder), "--report_to", "none"]
    train_video_model(parse_video_run("cffm", arguments=words), judged=())
    return folder / "checkpoint-6", len(calls)


def test_the_training_is_the_same_bit_for_bit(video_set, tmp_path, same_weights, monkeypatch):
    without, none = train(video_set, tmp_path / "without", monkeypatch)
    kept, all_steps = train(video_set, tmp_path / "with", monkeypatch, feature_cache=True)
    assert (none, all_steps) == (0, 6)
    assert same_weights(without, kept)
    other, _ = train(video_set, tmp_path / "other", monkeypatch, feature_cache=True, horizontal_flip=1.0)
    assert not same_weights(without, other)


def test_features_of_clips_that_change_are_refused():
    with pytest.raises(ValueError, match="fixed_clips"):
        VideoDataArguments(feature_cache=True)


def test_a_backbone_that_learns_is_refused(video_set, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="freeze_backbone"):
        train(video_set, tmp_path / "run", monkeypatch, feature_cache=True, frozen=False)
