"""`pipeline("video-semantic-segmentation")` with small models of random weights: the way in and out, no accuracy."""

import itertools
import logging
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import programs
import pytest
import torch
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor, pipeline

import dense_hf
from dense_hf.data import VideoReader, VideoWriter
from dense_hf.pipelines import VideoSemanticSegmentationPipeline
from dense_hf.pipelines.video_semantic_segmentation import list_frames
from dense_hf.video_segmentation.image_processing_clip import CFFMImageProcessor

SIZE = (50, 70)  # height, width


@pytest.fixture(scope="module")
def processor():
    return CFFMImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})


@pytest.fixture(scope="module")
def segmenter(small_segmenter, processor):
    return pipeline("video-semantic-segmentation", model=small_segmenter(), image_processor=processor, device="cpu")


@pytest.fixture(scope="module")
def frames():
    """11 arrays of changing blocks: beyond the start of a video, where references are those of the released lists."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (11, 5, 7, 3), dtype=np.uint8)
    return list(blocks.repeat(10, axis=1).repeat(10, axis=2))


def maps(results):
    return [result["segmentation"] for result in results]


def assert_same(results, expected):
    assert [result["frame"] for result in results] == list(range(len(results)))
    assert len(results) == len(expected)
    for one, other in zip(results, expected):
        np.testing.assert_array_equal(one["segmentation"], other["segmentation"])


@pytest.fixture(scope="module")
def results(segmenter, frames):
    return segmenter(frames)


def test_results_are_those_of_clips(segmenter, processor, frames, results):
    """The reference: every frame with its clip, forwarded whole, and the logits at the size of the frame."""
    references = {3: (0, 1, 2), 4: (0, 2, 3), 5: (0, 2, 4), 6: (0, 2, 4), 7: (0, 3, 5), 8: (0, 3, 6)}
    references |= {9: (0, 3, 6), 10: (1, 4, 7)}
    model = segmenter.model
    for index, result in enumerate(results):
        clip = [frames[number] for number in (*references.get(index, ()), index)]
        pixels = processor([[Image.fromarray(frame) for frame in clip]], return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            logits = model(pixels).logits
        expected = torch.nn.functional.interpolate(logits, pixels.shape[-2:], mode="bilinear")
        expected = torch.nn.functional.interpolate(expected, SIZE, mode="bilinear")[0]
        labels = torch.from_numpy(result["segmentation"]).long()
        assert result["segmentation"].dtype == np.uint8
        assert result["segmentation"].shape == SIZE
        # the label of a pixel where two classes are equal to 1e-4 may be either
        assert (expected.amax(0) - expected.gather(0, labels[None])[0]).max() < 1e-4, index
    assert len(np.unique(maps(results))) > 2
    assert any((a != b).any() for a, b in itertools.pairwise(maps(results)))


def test_statistics_are_shares_by_name(segmenter, results):
    for result in results:
        assert set(result) == {"frame", "segmentation", "class_statistics"}
        counted = Counter(segmenter.model.config.id2label[label] for label in result["segmentation"].ravel().tolist())
        shares = result["class_statistics"]
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert shares == {name: count / 3500 for name, count in counted.items()}


def test_every_way_to_give_frames(segmenter, frames, results, tmp_path):
    few, expected = frames[:3], results[:3]
    for number, frame in enumerate(few):
        Image.fromarray(frame).save(tmp_path / f"frame{number + 8}.png")  # 8, 9, 10
    Image.new("L", (8, 8)).save(tmp_path / ".hidden.png")
    (tmp_path / "notes.txt").write_text("wind from the east")
    paths = [str(tmp_path / f"frame{number}.png") for number in (8, 9, 10)]
    assert list_frames(tmp_path) == [Path(path) for path in paths]
    images = [Image.fromarray(frame) for frame in few]
    tensors = [torch.from_numpy(frame).permute(2, 0, 1) for frame in few]
    for given in (few, images, tuple(images), paths, tensors, np.stack(few), [few[0], images[1], Path(paths[2])]):
        got = segmenter(given)
        assert isinstance(got, list)
        assert_same(got, expected)
    for given in (str(tmp_path), tmp_path, iter(few), (image for image in images)):
        stream = segmenter(given)
        assert next(stream)["frame"] == 0
        assert_same([results[0], *stream], expected)
    for given in (few[0], images[0], tensors[0]):
        np.testing.assert_array_equal(segmenter(given)["segmentation"], expected[0]["segmentation"])


def test_pictures_of_other_modes_and_orientation(segmenter, frames):
    picture = Image.fromarray(frames[0])
    gray = picture.convert("L")
    expected = segmenter(gray.convert("RGB"))["segmentation"]
    for same in (gray, np.asarray(gray), gray.convert("RGBA"), gray.convert("P")):
        np.testing.assert_array_equal(segmenter(same)["segmentation"], expected)
    turned = picture.rotate(180)
    turned.getexif()[0x0112] = 3
    np.testing.assert_array_equal(segmenter(turned)["segmentation"], segmenter(picture)["segmentation"])


def test_a_video_file(segmenter, frames, tmp_path):
    with VideoWriter(tmp_path / "street.mp4", 25, SIZE[::-1]) as video:
        for frame in frames:
            video.write(frame)
    with VideoReader(tmp_path / "street.mp4") as video:
        expected = segmenter(list(video))
    assert len(expected) == len(frames)
    assert_same(list(segmenter(str(tmp_path / "street.mp4"))), expected)


def test_an_endless_stream_is_read_one_frame_at_a_time(segmenter, frames):
    taken = []
    endless = (taken.append(number) or frames[number % 11] for number in itertools.count())
    stream = segmenter(endless)
    assert taken == []
    for number in range(25):
        assert next(stream)["frame"] == number
        assert len(taken) == number + 1


@pytest.fixture
def warnings():
    """Messages of the pipeline, a list that grows."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("dense_hf.pipelines.video_semantic_segmentation")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def test_damaged_frames_are_reported_and_the_rest_goes_on(segmenter, frames, results, tmp_path, warnings):
    Image.fromarray(frames[0]).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:300])
    Image.fromarray(np.full(SIZE, 300, np.uint16)).save(tmp_path / "sixteen.png")
    (tmp_path / "text.png").write_text("no picture")
    damaged = {
        2: (OSError("lost"), "lost"),
        5: (str(tmp_path / "cut.png"), "truncated"),
        6: (str(tmp_path / "text.png"), "text.png"),
        7: (str(tmp_path / "absent.png"), "absent.png"),
        9: (str(tmp_path / "sixteen.png"), "8 bits"),
        10: (dense_hf.InvalidDataError("street.mp4", "a whole frame 10", "a damaged one"), "whole frame 10"),
        12: (np.zeros((0, 5, 3), np.uint8), "0, 5, 3"),
    }
    mixed = list(frames)
    for index, (frame, _) in damaged.items():
        mixed.insert(index, frame)
    got = segmenter(mixed)
    assert [result["frame"] for result in got] == list(range(18))
    assert {result["frame"] for result in got if "error" in result} == set(damaged)
    for index, (_, reason) in damaged.items():
        assert got[index]["segmentation"] is None
        assert got[index]["class_statistics"] == {}
        assert reason in got[index]["error"]
    assert [message.split(" is ")[0] for message in warnings] == [f"frame {index}" for index in damaged]
    whole = [result for result in got if "error" not in result]
    for one, other in zip(whole, results, strict=True):
        np.testing.assert_array_equal(one["segmentation"], other["segmentation"])


def test_a_damaged_frame_inside_a_video_file(segmenter, frames, tmp_path, warnings):
    with VideoWriter(tmp_path / "street.mp4", 1, SIZE[::-1]) as video:  # many key frames, so that others survive
        for frame in frames:
            video.write(frame)
    content = bytearray((tmp_path / "street.mp4").read_bytes())
    start, middle = content.index(b"mdat"), len(content) // 2
    assert start < middle
    content[middle : middle + 400] = bytes(range(200, 240)) * 10
    (tmp_path / "hit.mp4").write_bytes(content)
    got = list(segmenter(tmp_path / "hit.mp4"))
    errors = [result["frame"] for result in got if "error" in result]
    assert 0 < len(errors) < 6
    assert [result["frame"] for result in got] == list(range(len(got)))
    assert sum("error" not in result for result in got) >= 5
    assert "hit.mp4" in got[errors[0]]["error"]
    assert len(warnings) == len(errors)


@pytest.mark.parametrize(
    ("given", "received"),
    [
        (lambda frames: ["a.mp4", "b.mp4"], r"'a\.mp4'"),
        (lambda frames: [frames[0], frames[1] / 255], "ndarray of float64"),
        (lambda frames: [*frames[:2], None], "NoneType"),
        (lambda frames: [frames[0].tobytes()], "bytes"),
        (lambda frames: frames[0].tobytes(), "bytes"),
        (lambda frames: np.stack(frames) / 255, "ndarray of float64"),
        (lambda frames: frames[0] / 255, "ndarray of float64"),
        (lambda frames: [frames], "list"),
        (lambda frames: {"video": "a.mp4"}, "dict"),
        (lambda frames: 5, "int"),
    ],
)
def test_what_is_no_video_is_told_at_once(segmenter, frames, given, received):
    """Two videos are two calls; what is no frame is no damaged frame."""
    calls = []
    hook = segmenter.model.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(TypeError, match=rf"uint8 array \[H, W, 3\].*Received: {received}"):
        segmenter(given(frames))
    hook.remove()
    assert not calls
    with pytest.raises(TypeError, match="ndarray of float64"):  # of an iterator when it comes
        list(segmenter(iter([frames[0], frames[1] / 255])))


def test_another_size_starts_a_new_video(segmenter, frames, results, warnings):
    smaller = [frame[:40, :60] for frame in frames[:5]]
    got = segmenter([*frames[:4], *smaller, *frames[:4]])
    assert_same(got[:4], results[:4])
    for one, other in zip(got[4:], [*segmenter(smaller), *results[:4]], strict=True):
        np.testing.assert_array_equal(one["segmentation"], other["segmentation"])
    assert got[4]["segmentation"].shape == (40, 60)
    assert warnings == [
        "frame 4 is 60 x 40, not 70 x 50: a new video starts with it",
        "frame 9 is 70 x 50, not 60 x 40: a new video starts with it",
    ]


def test_two_videos_do_not_meet(segmenter, frames, results):
    one, other = segmenter(iter(frames)), segmenter(iter(frames[::-1]))
    mixed = [(next(one), next(other)) for _ in frames]
    assert_same([first for first, _ in mixed], results)
    assert_same([second for _, second in mixed], segmenter(frames[::-1]))


def test_what_cannot_be_a_video(segmenter, tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    for bad in ("text.mp4", "absent.mp4"):
        with pytest.raises(dense_hf.InvalidDataError, match=bad):
            segmenter(tmp_path / bad)  # at once, not with the first frame
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no frames"):
        segmenter(tmp_path / "empty")
    with pytest.raises(TypeError):
        segmenter(5)
    with pytest.raises(TypeError, match="opacity"):
        segmenter([], opacity=1)
    assert segmenter([]) == []
    with pytest.raises(RuntimeError, match="cable"):
        list(segmenter(_unplugged()))


def _unplugged():
    yield np.zeros((50, 70, 3), np.uint8)
    raise RuntimeError("cable")


def test_broken_weights_do_not_look_like_a_class(small_segmenter, processor, frames):
    model = small_segmenter()
    model.decoder.classifier.bias.data[1] = float("nan")
    broken = VideoSemanticSegmentationPipeline(model=model, image_processor=processor, device="cpu")
    with pytest.raises(ValueError, match="must be finite"):
        broken(frames[0])


def test_a_model_in_half_precision(small_segmenter, processor, frames, results):
    half = small_segmenter().to(torch.bfloat16)
    half = VideoSemanticSegmentationPipeline(model=half, image_processor=processor, device="cpu")
    same = np.mean([(a == b).mean() for a, b in zip(maps(half(frames[:5])), maps(results))])
    assert same > 0.9


def test_segformer_sees_every_frame_alone(frames, tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}
    config = SegformerConfig(num_labels=300, decoder_hidden_size=16, **sizes)
    model = SegformerForSemanticSegmentation(config).eval()
    model.save_pretrained(tmp_path)
    processor = SegformerImageProcessor(size={"height": 64, "width": 64})
    processor.save_pretrained(tmp_path)
    segmenter = pipeline("video-semantic-segmentation", model=str(tmp_path), device="cpu")
    assert isinstance(segmenter.model, SegformerForSemanticSegmentation)
    for frame, result in zip(frames[:3], segmenter(frames[:3]), strict=True):
        with torch.no_grad():
            outputs = model(**processor(Image.fromarray(frame), return_tensors="pt"))
        (expected,) = processor.post_process_semantic_segmentation(outputs, [SIZE])
        np.testing.assert_array_equal(result["segmentation"], expected)
        assert result["segmentation"].dtype == np.uint16  # 300 labels


@pytest.mark.slow
def test_a_saved_pipeline_works_without_the_package(
    small_segmenter, processor, frames, results, tmp_path, script_environment
):
    """All code that decoded frames need travels with it."""
    small_segmenter().save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames[:5]):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number:03}.png")
    save = """
import sys
import dense_hf
from transformers import pipeline
pipeline("video-semantic-segmentation", model=sys.argv[1], device="cpu").save_pretrained(sys.argv[2])
"""
    programs.run(
        [sys.executable, "-c", save, tmp_path / "model", tmp_path / "hub"],
        check=True,
        env=script_environment,
    )
    load = """
import sys
sys.modules["dense_hf"] = None  # importing it would fail
import numpy as np
from transformers import pipeline
segmenter = pipeline("video-semantic-segmentation", model=sys.argv[1], trust_remote_code=True, device="cpu")
np.save(sys.argv[3], [result["segmentation"] for result in segmenter(sys.argv[2])])
try:
    segmenter("street.mp4")
except ImportError as error:
    print(error)
"""
    arguments = [tmp_path / "hub", tmp_path / "frames", tmp_path / "maps.npy"]
    without = {**script_environment, "PYTHONPATH": "", "HF_HOME": programs.empty_home()}
    done = programs.run(
        [sys.executable, "-c", load, *arguments], check=True, env=without, capture_output=True, text=True
    )
    np.testing.assert_array_equal(np.load(tmp_path / "maps.npy"), maps(results[:5]))
    assert "pip install dense_hf[video]" in done.stdout
