"""Services of small models in this process, and what is sent to them."""

import io

import numpy as np
import pytest
from PIL import Image
from saved_checkpoints import saved

from dense_hf.data import VideoWriter


@pytest.fixture(scope="session")
def checkpoints(counter_checkpoint, segmenter_checkpoint, tmp_path_factory):
    """Task -> folder."""
    return {
        "count": counter_checkpoint,
        "segment": segmenter_checkpoint,
        "localize": str(saved(tmp_path_factory.mktemp("mcis"), "mcis")),
    }


@pytest.fixture(scope="session")
def client(checkpoints):
    """`client(task, **limits)`: of a service whose model is loaded; the same service for the same arguments."""
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from dense_hf.service import ServedModel, ServiceLimits, create_app

    made = {}

    def make(task, **limits):
        key = task, *sorted(limits.items())
        if key not in made:
            model = ServedModel(checkpoints[task], ServiceLimits(**limits), "cpu")
            model.load()
            made[key] = TestClient(create_app(model), raise_server_exceptions=False)
            made[key].model = model
        return made[key]

    yield make
    for one in made.values():
        one.model.stop()


def content_of(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def pictures(noise):
    """Contents of three PNG files."""
    return [content_of(noise(90, 70, seed)) for seed in range(3)]


@pytest.fixture(scope="session")
def street(tmp_path_factory, noise):
    """Content of a video of four frames."""
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    with VideoWriter(path, 25, (96, 64)) as writer:
        for seed in range(4):
            writer.write(np.asarray(noise(96, 64, seed)))
    return path.read_bytes()


@pytest.fixture(scope="session")
def large_pictures():
    """PNG files of many pixels in a few kilobytes, and what is said of them where 10,000 pixels are allowed."""
    return {
        content_of(Image.new("1", (3000, 2000))): "at most 10000 pixels. Received: 3000 x 2000",
        content_of(Image.new("1", (20_000, 10_000))): "decompression bomb",
    }
