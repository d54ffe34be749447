"""What a service gets from strangers: one sentence, a status of 4xx or 503, and the next request is answered."""

import asyncio
import threading

import pytest

GOOD = "/image"
FORM = {"content-type": "multipart/form-data; boundary=b"}


def told(response, status):
    """The sentence of a refusal; it says nothing of the machine, and nothing to a terminal."""
    assert response.status_code == status, response.text
    (sentence,) = response.json().values()
    assert sentence.isprintable()
    assert 9 <= len(sentence) < 700
    for word in ("Traceback", "/tmp", "site-packages", ".py"):
        assert word not in response.text
    return sentence


def check_healthy(service, pictures):
    assert service.get("/health").json()["status"] == "ready"
    assert service.post(GOOD, files={"image": ("a.png", pictures[0])}).status_code == 200


NAMES = {
    "control characters": "\x1b[2J\x07a\u202e.png",
    "a path": "../../etc/passwd",
    "long": "a" * 2000,
    "a script": "<script>alert(1)</script>",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_name_of_a_file_is_nothing(name, client, pictures):
    service = client("count")
    assert service.post("/image", files={"image": (name, pictures[0])}).status_code == 200
    sentence = told(service.post("/image", files={"image": (name, b"text")}), 422)
    assert sentence.startswith("picture 1: expected a complete JPEG")
    assert name[:20] not in sentence


@pytest.mark.parametrize(
    ("path", "request_", "status", "words"),
    [
        ("/image", {"files": {"picture": ("a", b"x")}}, 422, "image: Field required; picture: Extra inputs"),
        ("/image", {"files": {"\x1b[2J": ("a", b"x")}}, 422, "image: Field required"),
        ("/image", {"data": {"image": "text"}, "files": {"x": b""}}, 422, "Expected UploadFile"),
        ("/image", {"files": [("image", ("a", b"x"))] * 2}, 422, "image is sent once. Received: 2 times"),
        ("/image", {"files": {"image": ("a" * 100_000, b"x")}}, 400, "Invalid multipart data"),
        ("/image", {"files": {"image": ("a", b"")}}, 422, "picture 1: expected a complete JPEG"),
        ("/image", {"files": {"image": ("a.svg", b"<svg/>", "image/svg+xml")}}, 422, "picture 1: expected a complete"),
        (
            "/image",
            {"files": {"image": ("a", b"x")}, "data": {"threshold": "nan"}},
            422,
            "threshold.0: Input should be",
        ),
        ("/image", {"files": {"image": ("a", b"x")}, "data": {"threshold": "2"}}, 422, "less than or equal to 1"),
        ("/image", {"files": {"image": ("a", b"x")}, "data": {"threshold": "\x1b" * 9999}}, 422, "a valid number"),
        ("/image", {"files": {"image": ("a", b"x")}, "data": {"every": "2"}}, 422, "every: Extra inputs"),
        ("/image", {"files": {"image": ("a", b"x")}, "data": {f"x{n}": "1" for n in range(1100)}}, 400, "Too many"),
        ("/image", {"files": {"image": ("a", b"x")}, "data": {"threshold": "1" * 2**20 + "1"}}, 400, "maximum size"),
        ("/images", {"files": [("images", ("a", b"x"))] * 65}, 422, "1 to 64 pictures. Received: 65"),
        ("/images", {"files": {"image": ("a", b"x")}}, 422, "images: Field required"),
        ("/image", {"json": {"image": "x"}}, 415, "multipart/form-data"),
        ("/image", {}, 415, "multipart/form-data"),
        ("/image", {"headers": {"content-type": "multipart/form-data"}, "content": b"x"}, 400, "boundary"),
        (
            "/image",
            {"headers": {"content-type": "multipart/form-data; boundary=b"}, "content": b"x"},
            400,
            "multipart",
        ),
        (
            "/image",
            {"headers": {"content-type": "multipart/form-data; boundary=b"}, "content": b"--b"},
            422,
            "required",
        ),
        ("/image", {"files": {"image": ("a", bytes(2**21))}}, 413, "at most 2,097,152 bytes"),
        ("/video", {"files": {"video": ("a", b"x")}}, 404, "Not Found"),
        ("/health", {}, 405, "Method Not Allowed"),
    ],
)
def test_wrong_requests(path, request_, status, words, client, pictures):
    service = client("count", upload=2**21)
    response = service.post(path, **request_)
    assert words in told(response, status)
    check_healthy(service, pictures)


def test_a_picture_that_is_cut_or_too_large(client, pictures, large_pictures):
    service = client("count", pixels=10_000)
    for cut in (20, 100, len(pictures[0]) // 2):
        told(service.post("/image", files={"image": ("a", pictures[0][:cut])}), 422)
    for content, words in large_pictures.items():
        for path, name in (("/image", "image"), ("/images", "images")):
            sentence = told(service.post(path, files={name: ("a", content)}), 422)
            assert sentence.startswith("picture 1: expected")
            assert words in sentence
    check_healthy(service, pictures)


def test_the_wrong_picture_of_a_batch_is_named(client, pictures):
    sent = [("images", ("a", pictures[0])), ("images", ("b", pictures[1][:90])), ("images", ("c", pictures[2]))]
    assert told(client("count").post("/images", files=sent), 422).startswith("picture 2: expected")


def test_a_group_is_held_in_memory_as_a_whole(client, pictures):
    service = client("localize", pixels=2 * 90 * 70)
    sent = [("images", ("a", picture)) for picture in pictures]
    assert service.post("/images", files=sent[:2]).status_code == 200
    assert "at most 12600 pixels" in told(service.post("/images", files=sent), 422)
    assert "The classes are LABEL_0" in told(service.post("/images", files=sent[:1], data={"labels": "dog"}), 422)
    assert "for each of 2 images" in told(service.post("/images", files=sent[:2], data={"labels": "LABEL_0"}), 422)


def test_videos_that_are_none_or_too_long(client, street):
    service = client("segment", frames=3)
    assert "at most 3 frames" in told(service.post("/video", files={"video": ("a", street)}), 422)
    told(service.post("/video", files={"video": ("a", street)}, data={"max_frames": "4"}), 422)
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    for content in (b"text", playlist, street[:500], b""):
        assert told(service.post("/video", files={"video": ("a", content)}), 422).startswith("video: expected a video")
    small = client("segment", pixels=1000)
    assert "at most 1000 pixels" in told(small.post("/video", files={"video": ("a", street)}), 422)
    found = service.post("/video", files={"video": ("a", street)}, data={"max_frames": "3"})
    assert [one["frame"] for one in found.json()] == [0, 1, 2]


@pytest.mark.parametrize(("task", "name"), [("count", "image"), ("segment", "video"), ("localize", "image")])
def test_what_takes_too_long(task, name, client, pictures, street, monkeypatch):
    """It ends at the next batch of tiles or frame, and its place is free."""
    service = client(task)
    model = service.model
    pipeline = model._answers.pipeline
    file = {name: ("a", street if name == "video" else pictures[0])}

    def begin(*inputs, **settings):
        model._until.value = 0.0  # its time is over
        return pipeline(*inputs, **settings)

    with monkeypatch.context() as here:
        here.setattr(model._answers, "pipeline", begin)
        sentence = told(service.post(f"/{name}", files=file), 504)
    assert sentence == "It takes longer than 60 s; send fewer or smaller pictures or frames."
    assert service.post(f"/{name}", files=file).status_code == 200
    assert model.computing == model.waiting == 0


@pytest.fixture
def held(client, pictures):
    """A service with one place and no queue, where a request is computed until `release` is set."""
    service = client("count", queue=0)
    begun, release = threading.Event(), threading.Event()
    answers = service.model._answers
    pipeline, answers.pipeline = (
        answers.pipeline,
        lambda picture: begun.set() or (release.wait(60) and pipeline(picture)),
    )
    found = []
    request_ = threading.Thread(target=lambda: found.append(service.post(GOOD, files={"image": ("a", pictures[0])})))
    request_.start()
    assert begun.wait(60)
    answers.pipeline = pipeline
    yield service, release, request_.join, found
    release.set()
    request_.join()


def test_who_comes_too_much_is_told_when_to_come_again(held, pictures):
    service, release, join, found = held
    for _ in range(3):
        response = service.post(GOOD, files={"image": ("a", pictures[0])})
        told(response, 503)
        assert int(response.headers["retry-after"]) >= 1
    assert service.get("/health").status_code == 200
    assert "dense_hf_computing 1.0" in service.get("/metrics").text
    release.set()
    join()
    assert found[0].status_code == 200
    check_healthy(service, pictures)


def test_who_waits_in_vain_is_told_so(held, pictures, monkeypatch):
    """All its time in the queue is no fault of the request: 503, not 504."""
    service = held[0]
    monkeypatch.setattr(service.model, "limits", type(service.model.limits)(seconds=0.01, queue=1))
    response = service.post(GOOD, files={"image": ("a", pictures[0])})
    told(response, 503)
    assert "retry-after" in response.headers


def test_faults_of_our_own(client, pictures, monkeypatch):
    service = client("count")
    answers = service.model._answers
    for error, status in ((RuntimeError("secret /etc/x.py"), 500), (MemoryError("secret /etc/x.py"), 503)):

        def fail(picture, error=error):
            raise error

        with monkeypatch.context() as here:
            here.setattr(answers, "pipeline", fail)
            assert "secret" not in told(service.post(GOOD, files={"image": ("a", pictures[0])}), status)
    check_healthy(service, pictures)


def test_a_service_that_is_not_ready_says_so(checkpoints, pictures):
    from starlette.testclient import TestClient

    from dense_hf.service import ServedModel, create_app

    model = ServedModel(checkpoints["count"])
    service = TestClient(create_app(model))
    for status in ("loading", "stopping"):
        model.status = status
        assert service.get("/health").status_code == 503
        assert service.get("/health").json()["status"] == status
        response = service.post(GOOD, files={"image": ("a", pictures[0])})
        assert status in told(response, 503)
        assert "retry-after" in response.headers
        assert "dense_hf_ready 0.0" in service.get("/metrics").text


def asked(app, pieces, headers):
    """Status and headers of an answer to a body that comes in pieces, and then not on."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/image",
        "raw_path": b"/image",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
    }
    left, sent = list(pieces), []

    async def receive():
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": True}
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), len(left)


def test_a_body_that_comes_too_slowly_or_never_ends(client, monkeypatch):
    monkeypatch.setattr("dense_hf.service.guard._LINGER", 0.05)
    service = client("count", seconds=0.05, upload=10_000)
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    status, headers, _ = asked(service.app, [part, b"x"], FORM)
    assert (status, headers[b"connection"]) == (408, b"close")
    status, headers, left = asked(service.app, [part, *[bytes(1000)] * 1000], FORM)
    assert (status, headers[b"connection"]) == (413, b"close")
    assert left > 900  # it is not read to its end
    for length in ("10001", "-1", "many"):
        status, headers, _ = asked(service.app, [], {**FORM, "content-length": length})
        assert (status, headers[b"connection"]) == (413, b"close")


def test_too_many_uploads_at_once(client, monkeypatch):
    """Places for bodies are bounded, too; who holds them does not keep others from /health."""
    service = client("count", seconds=5.0)
    monkeypatch.setattr(type(service.model.limits), "admitted", 0)
    response = service.post(GOOD, files={"image": ("a", b"x")})
    assert "Too many uploads" in told(response, 503)
    assert response.headers["retry-after"] == "1"
    assert service.get("/health").status_code == 200
