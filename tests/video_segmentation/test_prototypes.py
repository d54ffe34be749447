"""Prototypes of a video: which frames, which features."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_cffm import tiny_model
from tiny_cffm_plus import tiny_plus
from tiny_video import random_clip
from torch.testing import assert_close

from dense_hf.video_segmentation.prototypes import cluster_frames, kmeans, prototype_frame_numbers


@given(st.integers(1, 500), st.integers(1, 20))
def test_frames_by_hand(num_frames, count):
    numbers = prototype_frame_numbers(num_frames, count)
    # as released; a video with fewer frames: frame 0 `count` times
    assert sorted({int((i + 0.5) * (num_frames // count)) for i in range(count)}) == numbers
    assert numbers[-1] < num_frames


def test_frames_of_some_videos():
    assert prototype_frame_numbers(10) == list(range(10))
    assert prototype_frame_numbers(29) == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert prototype_frame_numbers(9) == prototype_frame_numbers(1) == [0]
    for arguments in ((0,), (5, 0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            prototype_frame_numbers(*arguments)


def test_features_of_all_frames_are_clustered():
    model, video = tiny_plus(), random_clip(batch_size=1, num_frames=3, size=(40, 72))[0]
    with torch.no_grad():
        fused = model.decoder(model.encoder(video).hidden_states)
    points = torch.cat([torch.nn.functional.avg_pool2d(frame, 2).flatten(1).T for frame in fused])
    assert points.shape == (3 * 5 * 9, 32)
    prototypes = model.find_prototypes(iter(video), seed=4)
    assert prototypes.shape == (6, 32)
    assert_close(prototypes, kmeans(points, 6, 10, seed=4), atol=1e-4, rtol=0)


def test_the_cffm_and_its_extension_find_the_same():
    video = random_clip(batch_size=1)[0]
    assert_close(cluster_frames(tiny_model(), video, 6), tiny_plus().find_prototypes(video), atol=1e-6, rtol=0)


def test_frames_one_by_one_and_of_different_sizes():
    model, seen = tiny_plus(), []
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape)))
    model.find_prototypes([torch.randn(3, 64, 64), torch.randn(3, 32, 96)])
    assert seen == [(1, 3, 64, 64), (1, 3, 32, 96)]


def test_more_prototypes_than_pixels():
    prototypes = cluster_frames(tiny_model(), torch.randn(1, 3, 32, 32), 100)
    assert prototypes.shape == (100, 32)
    assert len(torch.unique(prototypes.round(decimals=4), dim=0)) <= 16


def test_half_precision_gives_full():
    assert tiny_plus().bfloat16().find_prototypes(torch.randn(2, 3, 32, 32)).dtype == torch.float32


def test_what_is_refused():
    model = tiny_plus()
    with pytest.raises(ValueError, match="at least one frame"):
        model.find_prototypes([])
    with pytest.raises(ValueError, match=r"Received: \[1, 3, 32, 32\]"):
        model.find_prototypes([torch.zeros(1, 3, 32, 32)])
    with pytest.raises(ValueError, match="training mode"):
        model.train().find_prototypes([torch.zeros(3, 32, 32)])
