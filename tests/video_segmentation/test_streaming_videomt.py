"""VidEoMT frame by frame is VidEoMT on the clip, bit for bit."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_video import random_clip
from torch.testing import assert_close
from transformers import pipeline

from dense_hf.cli import main

videomt = pytest.importorskip("transformers.models.videomt")

from transformers import VideomtVideoProcessor  # noqa: E402

from dense_hf.video_segmentation.streaming_videomt import StreamingVideomt, VideomtFrames  # noqa: E402


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = videomt.VideomtConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        num_queries=7,
        num_blocks=2,
        num_labels=5,
    )
    return StreamingVideomt(videomt.VideomtForUniversalSegmentation(config).eval())


@torch.no_grad()
def test_frame_by_frame_is_the_clip(model):
    """And beginning anew with each frame is not."""
    video = random_clip(num_frames=5, size=(64, 64), batch_size=1)
    clip = model.model(pixel_values_videos=video)
    references, session = None, model.new_session()
    for number, frame in enumerate(video.unbind(1)):
        logits, queries = model.query_logits(frame, references)
        assert_close(logits.classes[0], clip.class_queries_logits[number], atol=0, rtol=0)
        assert_close(logits.masks[0], clip.masks_queries_logits[number], atol=0, rtol=0)
        assert_close(model.segment_frame(frame, session), logits.scores(), atol=0, rtol=0)
        references = ((queries,),)
    alone, _ = model.query_logits(frame, None)
    assert (alone.classes - logits.classes).abs().max() > 1e-4
    assert session.num_bytes() == 7 * 32 * 4


def test_reuse_and_streams(model):
    frame, seen = random_clip(num_frames=1, size=(64, 64), batch_size=2)[:, 0], []
    handle = model.model.embeddings.register_forward_hook(lambda *_: seen.append(1))
    session = model.new_session(reuse="identical")
    for _ in range(3):
        scores = model.segment_frame(frame, session)
    handle.remove()
    assert len(seen) == 1
    streams = model.new_streams(2)
    for _ in range(3):
        found = model.segment_frame(frame, streams)
    assert_close(found, scores, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"64 x 64 pixels. Received: \[1, 3, 32, 64\]"):
        model.segment_frame(torch.zeros(1, 3, 32, 64), model.new_session())


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    """As published: a model and a video processor, without an image processor."""
    folder = tmp_path_factory.mktemp("videomt")
    model.model.save_pretrained(folder)
    VideomtVideoProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (36, 48, 3), dtype=np.uint8)) for _ in range(5)]


@pytest.fixture(scope="module")
def expected(model, checkpoint, pictures):
    """Labels of the clip, by transformers alone."""
    processor = VideomtVideoProcessor.from_pretrained(checkpoint)
    clip = np.stack([np.asarray(picture) for picture in pictures])
    with torch.no_grad():
        outputs = model.model(**processor(videos=[torch.from_numpy(clip).permute(0, 3, 1, 2)], return_tensors="pt"))
    return [one.numpy() for one in processor.post_process_semantic_segmentation(outputs, [(36, 48)] * 5)]


def test_the_pipeline_is_the_clip_of_transformers(checkpoint, pictures, expected):
    frames = VideomtFrames.from_pretrained(checkpoint)
    segmenter = pipeline("video-semantic-segmentation", model=str(checkpoint), image_processor=frames)
    found = [result["segmentation"] for result in segmenter(iter(pictures))]
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    assert len(np.unique(expected)) > 1


def test_the_program_goes_on_from_all_frames(checkpoint, pictures, expected, tmp_path):
    """Queries have met every frame before, so those whose labels are known are seen again."""
    (tmp_path / "frames").mkdir()
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / "frames" / f"{number:03d}.png")
    words = ["segment", str(tmp_path / "frames"), "--model", str(checkpoint), "--labels-dir", str(tmp_path / "out")]
    assert main([*words, "--max-frames", "3"]) == 0
    assert main([*words, "--resume"]) == 0
    maps = sorted((tmp_path / "out").rglob("mask/*.png"))
    found = [np.asarray(Image.open(path)) - 1 for path in maps]  # as in VSPW
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
