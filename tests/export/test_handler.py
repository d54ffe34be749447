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


def test_counts_of_pictures_and_batches(endpoint, noise):
    folder, handler = endpoint("iocformer")
    images = [noise(50, 40, seed) for seed in range(3)]
    expected = pipeline("object-counting", model=str(folder), trust_remote_code=True)(images, threshold=0.4)
    texts = [base64.b64encode(png(image)).decode() for image in images]
    found = handler({"inputs": texts, "parameters": {"threshold": 0.4}})
    assert json.loads(json.dumps(found)) == expected
    assert handler({"inputs": images[1], "parameters": {"threshold": 0.4}}) == expected[1]
    assert handler({"inputs": "data:image/png;base64," + texts[0], "parameters": {"threshold": 0.4}}) == expected[0]


def test_a_video_and_a_picture_are_segmented(endpoint, noise, tmp_path):
    folder, handler = endpoint("cffm")
    frames = [np.asarray(noise(64, 48, seed)) for seed in range(4)]
    with VideoWriter(tmp_path / "street.mp4", 25, (64, 48)) as writer:
        for frame in frames:
            writer.write(frame)
    video = base64.b64encode((tmp_path / "street.mp4").read_bytes()).decode()
    found = handler({"inputs": {"video": video}, "parameters": {"every": 2}})
    assert [result["frame"] for result in found] == [0, 2]
    labels = Image.open(io.BytesIO(base64.b64decode(found[0]["segmentation"])))
    assert labels.size == (64, 48)
    assert sum(found[0]["class_statistics"].values()) == pytest.approx(1)
    segmenter = pipeline("video-semantic-segmentation", model=str(folder), trust_remote_code=True)
    picture = handler({"inputs": png(Image.fromarray(frames[0]))})
    expected = segmenter(Image.fromarray(frames[0]))["segmentation"]
    np.testing.assert_array_equal(Image.open(io.BytesIO(base64.b64decode(picture["segmentation"]))), expected)


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
    ],
)
def test_other_requests_are_refused(request_, endpoint):
    with pytest.raises(ValueError, match="Received"):
        endpoint("iocformer")[1](request_)
