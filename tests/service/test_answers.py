"""The service says what the handler of an endpoint says of the same pictures and videos."""

import json

import pytest

from dense_hf.export.handler import EndpointHandler


@pytest.fixture(scope="module")
def handler(checkpoints):
    """`handler(task)`."""
    made = {}
    return lambda task: made.setdefault(task, EndpointHandler(checkpoints[task]))


TWO = ["LABEL_0", "LABEL_1"]


def files(name, contents):
    return [(name, (f"{number}.png", content)) for number, content in enumerate(contents)]


def answer(response):
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    ("task", "fields", "parameters"),
    [
        ("count", {}, {}),
        ("count", {"threshold": "0.6"}, {"threshold": 0.6}),
        ("segment", {}, {}),
        ("localize", {}, {}),
        ("localize", {"labels": "LABEL_0; LABEL_3"}, {"labels": [["LABEL_0", "LABEL_3"]]}),
        ("localize", {"labels": ""}, {"labels": [[]]}),
    ],
)
def test_a_picture(task, fields, parameters, client, handler, pictures):
    expected = handler(task)({"inputs": [pictures[0]], "parameters": parameters})[0]
    found = answer(client(task).post("/image", files=files("image", pictures[:1]), data=fields))
    assert found == json.loads(json.dumps(expected))


@pytest.mark.parametrize(
    ("task", "fields", "parameters"),
    [
        ("count", {"threshold": "0.4"}, {"threshold": 0.4}),
        ("segment", {}, {}),
        (
            "localize",
            {"labels": ["LABEL_0", "LABEL_0;LABEL_1", ""]},
            {"labels": [["LABEL_0"], ["LABEL_0", "LABEL_1"], []]},
        ),
    ],
)
def test_a_batch(task, fields, parameters, client, handler, pictures):
    expected = handler(task)({"inputs": pictures, "parameters": parameters})
    found = answer(client(task).post("/images", files=files("images", pictures), data=fields))
    assert found == json.loads(json.dumps(expected))
    assert len(found) == 3


@pytest.mark.parametrize("parameters", [{}, {"every": 3}, {"every": 2, "max_frames": 1}])
def test_a_video(parameters, client, handler, street):
    expected = handler("segment")({"inputs": {"video": street}, "parameters": parameters})
    found = answer(client("segment").post("/video", files={"video": ("a.mp4", street)}, data=parameters))
    assert found == json.loads(json.dumps(expected))


def test_a_damaged_frame_is_named_by_its_number_alone(client, street):
    """Not by the file in which the service keeps the video for a moment."""
    cut = bytearray(street)
    place = cut.index(b"mdat") + len(street) // 2
    cut[place : place + 400] = bytes(400)
    response = client("segment").post("/video", files={"video": ("a.mp4", bytes(cut))})
    assert "/tmp" not in response.text
    assert response.status_code in (200, 422)


def test_several_thresholds_are_of_several_classes(client, pictures):
    response = client("count").post("/image", files=files("image", pictures[:1]), data={"threshold": ["0.3", "0.4"]})
    assert response.status_code == 422
    assert "one number, or one for each of 1 classes" in response.json()["error"]
