"""The handler of pushed models: loaded from its copy, as an endpoint does, it says what pipelines say."""

import base64
import io
import json
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest
from PIL import Image
from saved_checkpoints import saved
from transformers import pipeline

from dense_hf.data import VideoWriter
from dense_hf.export.hub import collect_repository

pytestmark = pytest.mark.no_cover

CARD = "---\nlibrary_name: dense_hf\n---\n# A model\n"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """`endpoint(name)`: the folder of a pushed model, and the handler of its copy."""
    made = {}

    def make(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            saved(folder / "model", name)
            (folder / "model/README.md").write_text(CARD)
            (folder / "pushed").mkdir()
            files = collect_repository(folder / "model", folder / "pushed", "someone/model")
            assert {"handler.py", "requirements.txt"} <= {str(file) for file in files}
            spec = spec_from_file_location(f"handler_of_{name}", folder / "pushed/handler.py")
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            made[name] = folder / "pushed", module.EndpointHandler(str(folder / "pushed"))
        return made[name]

    return make


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def pixels(text):
    """Of the base64 of a PNG."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


@pytest.fixture(scope="module")
def street(tmp_path_factory, noise):
    """The content of a video of four frames."""
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    with VideoWriter(path, 25, (64, 48)) as writer:
        for seed in range(4):
            writer.write(np.asarray(noise(64, 48, seed)))
    return path.read_bytes()


def test_counts_of_pictures_and_batches(endpoint, noise):
    folder, handler = endpoint("iocformer")
    images = [noise(50, 40, seed) for seed in range(3)]
    expected = pipeline("object-counting", model=str(folder), trust_remote_code=True)(images, threshold=0.4)
    texts = [base64.b64encode(png(image)).decode() for image in images]
    found = handler({"inputs": texts, "parameters": {"threshold": 0.4}})
    assert json.loads(json.dumps(found)) == expected
    assert handler({"inputs": images[1], "parameters": {"threshold": 0.4}}) == expected[1]
    assert handler({"inputs": "data:image/png;base64," + texts[0], "parameters": {"threshold": 0.4}}) == expected[0]
    for value in ("0.4", 2, [0.1, None]):
        with pytest.raises(ValueError, match="threshold is a number from 0 to 1"):
            handler({"inputs": texts[0], "parameters": {"threshold": value}})


def test_a_video_and_a_picture_are_segmented(endpoint, noise, street, tmp_path):
    folder, handler = endpoint("cffm")
    segmenter = pipeline("video-semantic-segmentation", model=str(folder), trust_remote_code=True)
    (tmp_path / "street.mp4").write_bytes(street)
    video = base64.b64encode(street).decode()
    found = handler({"inputs": {"video": video}})
    for one, other in zip(found, segmenter(str(tmp_path / "street.mp4")), strict=True):
        assert one["class_statistics"] == other["class_statistics"]
        np.testing.assert_array_equal(pixels(one["segmentation"]), other["segmentation"])
    found = handler({"inputs": {"video": video}, "parameters": {"every": 2}})
    assert [result["frame"] for result in found] == [0, 2]
    picture = handler({"inputs": png(noise(64, 48))})
    np.testing.assert_array_equal(pixels(picture["segmentation"]), segmenter(noise(64, 48))["segmentation"])


def test_masks_of_pictures_and_batches(endpoint, noise):
    """A group is compared, with the classes of each; one alone with itself, with what the classifier finds."""
    folder, handler = endpoint("mcis")
    masks = pipeline("weakly-supervised-segmentation", model=str(folder), trust_remote_code=True)
    images = [noise(70, 60, seed) for seed in range(3)]
    labels = [["LABEL_0"], ["LABEL_0"], []]
    expected = masks(images, labels)
    found = handler({"inputs": [png(image) for image in images], "parameters": {"labels": labels}})
    json.dumps(found)
    for one, other in zip(found, expected, strict=True):
        assert one["labels"] == other["labels"]
        assert one["class_statistics"] == other["class_statistics"]
        np.testing.assert_array_equal(pixels(one["segmentation"]), other["segmentation"])
        assert one["maps"].keys() == other["maps"].keys()
        for name, picture in one["maps"].items():
            np.testing.assert_array_equal(pixels(picture), other["maps"][name])
    assert "LABEL_0" in found[0]["maps"]
    alone = handler({"inputs": images[0]})
    np.testing.assert_array_equal(pixels(alone["segmentation"]), masks(images[0])["segmentation"])


def test_a_batch_of_pictures_is_no_video(endpoint, noise):
    """Each is segmented on its own."""
    handler = endpoint("cffm")[1]
    images = [noise(64, 48, seed) for seed in range(2)]
    found = handler({"inputs": [png(image) for image in images]})
    assert found == [handler({"inputs": image}) for image in images]
    assert [result["frame"] for result in found] == [0, 0]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "at most 3 frames"),
        ({"max_frames": 2}, [0, 1]),
        ({"every": 3}, [0, 3]),
        ({"every": 2, "max_frames": 1}, [0]),
        ({"max_frames": 4}, "max_frames is a number from 1 to 3"),
        ({"every": 0}, "every is a number"),
        ({"every": [1]}, "every is a number"),
        ({"threshold": 0.5}, "Parameters here are every, max_frames"),
    ],
)
def test_frames_are_limited(parameters, told, endpoint, street):
    """Not silently: who does not say how many gets all or an error."""
    handler = endpoint("cffm")[1]
    short = type(handler)(str(endpoint("cffm")[0]))
    short.answers.limits = short.answers.limits._replace(frames=3)
    request_ = {"inputs": {"video": street}, "parameters": parameters}
    if isinstance(told, str):
        with pytest.raises(ValueError, match=told):
            short(request_)
    else:
        assert [result["frame"] for result in short(request_)] == told


def test_what_is_no_video(endpoint, street, tmp_path):
    """A playlist is none: FFmpeg would open the files and addresses that it names."""
    handler = endpoint("cffm")[1]
    (tmp_path / "secret.mp4").write_bytes(street)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile 'file:{tmp_path}/secret.mp4'\n"
    for content in (playlist.encode(), concat.encode(), b"text", street[:200]):
        with pytest.raises(ValueError, match="A video must be one that FFmpeg reads"):
            handler({"inputs": {"video": content}})
    handler.answers.limits, limits = handler.answers.limits._replace(pixels=1000), handler.answers.limits
    with pytest.raises(ValueError, match="at most 1000 pixels, not 64 x 48"):
        handler({"inputs": {"video": street}})
    handler.answers.limits = limits


@pytest.mark.parametrize(
    "request_",
    [
        {},
        "text",
        {"inputs": []},
        {"inputs": "https://example.com/a.png"},
        {"inputs": "/etc/passwd"},
        {"inputs": b"no picture"},
        {"inputs": [1, 2]},
        {"inputs": {"video": b"x"}},
        {"inputs": b"x", "parameters": {"model": "other"}},
        {"inputs": ["x"] * 65},
        {"inputs": b"x", "parameters": [1]},
        {"inputs": {"picture": b"x"}},
    ],
)
def test_other_requests_are_refused(request_, endpoint):
    with pytest.raises(ValueError, match="Received"):
        endpoint("iocformer")[1](request_)
