"""Visitors of the three pages: upload, run, read the number, and what the library says of the same file."""

import csv
import io
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw, ImageFilter
from space_server import ROOT
from tiny_density_counter import tiny_density_model
from transformers import pipeline

import dense_hf
from dense_hf import CounterImageProcessor
from dense_hf.data import VideoWriter, open_image
from dense_hf.data.counting_examples import CountingExample
from dense_hf.data.miniature_set import draw_scene, texture
from dense_hf.data.miniature_videos import draw_video
from dense_hf.inference.calibration import calibrate_counts
from dense_hf.weak_segmentation import ImageGroup, LocalizationSettings, Localizer, make_pseudo_label

SPACES = ("count", "video", "weak_labels")
pytestmark = [pytest.mark.slow, pytest.mark.network]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A file with green discs and their shadows, in which the bundled model sees trees; several tiles large."""
    picture = Image.fromarray((0.3 * texture(np.random.default_rng(1), 400, 300) + (120, 120, 88)).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for x in range(30, 400, 55):
        for y in range(30, 300, 55):
            draw.ellipse((x - 8, y - 8, x + 24, y + 24), fill=(25, 35, 45))
            draw.ellipse((x - 16, y - 16, x + 16, y + 16), fill=(70, 110, 50))
    path = tmp_path_factory.mktemp("scene") / "scene.png"
    picture.filter(ImageFilter.GaussianBlur(1.5)).save(path)
    return path


def write_video(path, size, num_frames):
    with VideoWriter(path, Fraction(10), size) as writer:
        for frame in draw_video(np.random.default_rng(0), size, num_frames, noise=6.0)[0]:
            writer.write(frame)
    return path


def upload(page, *files):
    page.set_input_files("#upload input[type=file]", [str(file) for file in files])


def message(page):
    """What the page says when something is wrong."""
    page.wait_for_selector(".toast-body", timeout=60_000)
    return page.inner_text(".toast-body")


def number(page, name):
    return float(page.input_value(f"#{name} input"))


def wait_for_number(page, name, condition="value != ''"):
    page.wait_for_function(f"(({{value}}) => {condition})(document.querySelector('#{name} input'))", timeout=120_000)
    return number(page, name)


def downloaded(page):
    """The rows of the table that the page offers."""
    page.wait_for_selector("#download:not([disabled])", timeout=60_000)
    with page.expect_download() as download:
        page.click("#download")
    with open(download.value.path(), newline="") as file:
        return list(csv.DictReader(file))


def cells(page, columns):
    """The texts of the table on the page, row by row."""
    page.wait_for_selector("#shares [role=gridcell]", timeout=60_000)
    texts = [text.strip() for text in page.locator("#shares [role=gridcell]").all_inner_texts()]
    return [texts[first : first + columns] for first in range(0, len(texts), columns)]


def test_count(addresses, open_page, scene, tmp_path):
    page = open_page(addresses["count"])
    upload(page, scene)
    page.wait_for_selector("#upload img")
    page.click("#run")
    count = wait_for_number(page, "count")
    counter = pipeline("object-counting", model=str(ROOT / "checkpoints" / "iocformer-trees"))
    result = counter(str(scene))
    assert count == result["count"] > 0
    assert number(page, "density_count") == round(result["density_count"], 1)
    rows = downloaded(page)
    assert [(float(row["x"]), float(row["y"]), float(row["score"])) for row in rows] == [
        pytest.approx(tuple(point.values()), abs=1e-4) for point in result["points"]
    ]
    page.wait_for_selector("#points img")
    page.screenshot(path=tmp_path / "count.png")

    score = result["points"][len(result["points"]) // 2]["score"]  # of the middle one: a threshold that changes things
    threshold = round(score, 2)
    page.fill("#threshold input[type=number]", str(threshold))
    page.press("#threshold input[type=number]", "Enter")
    fewer = sum(point["score"] >= threshold for point in result["points"])  # of those that the density asks for
    assert 0 < fewer != count
    assert wait_for_number(page, "count", f"value == '{fewer}'") == fewer


def test_a_threshold_of_a_model_that_counts_by_it(browser, open_page, scene, tmp_path):
    model = ROOT / "checkpoints" / "iocformer-nuclei"
    counter = pipeline("object-counting", model=str(model))
    with counting_page(model, tmp_path) as address:
        page = open_page(address)
        upload(page, scene)
        page.wait_for_selector("#upload img")
        page.click("#run")
        result = counter(str(scene))
        assert wait_for_number(page, "count") == result["count"] > 0
        for threshold in (0.2, 0.5):
            page.fill("#threshold input[type=number]", str(threshold))
            page.press("#threshold input[type=number]", "Enter")
            count = counter(str(scene), threshold=threshold)["count"]
            assert count != result["count"]
            assert wait_for_number(page, "count", f"value == '{count}'") == count


def test_video(addresses, open_page, tmp_path):
    video = write_video(tmp_path / "shapes.mp4", (160, 120), 9)
    page = open_page(addresses["video"])
    upload(page, video)
    page.wait_for_selector("#upload video")
    page.click("#run")
    assert wait_for_number(page, "count") == 9
    segmenter = pipeline("video-semantic-segmentation", model=str(ROOT / "checkpoints" / "cffm-street"))
    names = [*segmenter.model.config.id2label.values()]
    results = list(segmenter(str(video)))
    shares = np.array([[result["class_statistics"].get(name, 0) for name in names] for result in results])

    table = downloaded(page)
    np.testing.assert_allclose([[float(row[name]) for name in names] for row in table], shares, atol=1e-5)
    means = dict(zip(names, 100 * shares.mean(axis=0)))
    shown = {name: float(share) for name, share in cells(page, 2)}
    assert shown == pytest.approx({name: mean for name, mean in means.items() if mean}, abs=0.0051)

    page.wait_for_selector("#timeline img")
    first = page.get_attribute("#overlay img", "src")
    page.fill("#frame input[type=number]", "5")
    page.press("#frame input[type=number]", "Enter")
    page.wait_for_function(f"document.querySelector('#overlay img').src != '{first}'")
    page.screenshot(path=tmp_path / "video.png")


def test_weak_labels(addresses, open_page, tmp_path):
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for seed, path in enumerate(paths):
        Image.fromarray(draw_scene(np.random.default_rng(seed), (90, 70), 3, 2.0)[0]).save(path)
    page = open_page(addresses["weak_labels"])
    upload(page, *paths)
    page.wait_for_function("document.querySelectorAll('#upload img').length >= 3")
    for slider, score in (("background", "0.3"), ("background-alone", "0.2")):
        page.fill(f"#{slider} input[type=number]", score)
        page.press(f"#{slider} input[type=number]", "Tab")
    page.click("#run")

    checkpoint = ROOT / "checkpoints" / "mcis-crops"
    model = dense_hf.MCISForImageClassification.from_pretrained(checkpoint)
    processor = dense_hf.MCISImageProcessor.from_pretrained(checkpoint)
    images = {f"{place}. {path.name}": open_image(path) for place, path in enumerate(paths, start=1)}
    group = ImageGroup({name: [0] for name in images}, images.__getitem__)
    expected = [[name] for name in images]
    for references, score in ((0, 0.2), (3, 0.3)):
        with Localizer(model, processor, group, LocalizationSettings(num_references=references)) as localizer:
            for row in expected:
                mask = make_pseudo_label(localizer.attention(row[0]), None, 3, background_score=score)
                row.append(round(100 * float((mask == 1).mean()), 2))
    page.wait_for_function("document.querySelectorAll('#results img').length >= 9", timeout=120_000)
    assert [[name, float(alone), float(together)] for name, alone, together in cells(page, 3)] == expected
    assert expected[0][1] != expected[0][2]
    page.screenshot(path=tmp_path / "weak_labels.png")


def test_files_that_cannot_be_used(addresses, open_page, tmp_path):
    """The message says which file and why, and has no path of the server."""
    wide = tmp_path / "wide.png"
    Image.new("1", (5000, 4000)).save(wide)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    large = tmp_path / "large.png"
    with open(large, "wb") as file:
        file.truncate(21 * 2**20)
    for path, words in (
        (large, ("large.png", "20.0 M")),
        (wide, ("wide.png", "at most 16000000 pixels", "5000 x 4000")),
        (text, ("text.png", "expected a complete JPEG")),
        (None, ("Choose a picture first",)),
    ):
        page = open_page(addresses["count"])
        if path:
            upload(page, path)
        if path != large:  # it does not even arrive
            page.click("#run")
        said = message(page)
        assert all(word in said for word in words), said
        assert str(tmp_path.parent) not in said
        assert "gradio/" not in said


def test_the_server_refuses_large_files_of_other_clients(addresses, tmp_path):
    import httpx

    content = io.BytesIO(bytes(21 * 2**20))
    answer = httpx.post(f"{addresses['count']}gradio_api/upload", files={"files": ("large.png", content)}, timeout=60)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("page", "name", "data", "words"),
    [
        ("count", "choose", [float("nan")], "Choose a number from 0 to 0.9"),
        ("count", "choose", ["0.5"], ""),
        ("count", "look", [{"path": "", "meta": {"_type": "gradio.FileData"}}], ""),
        ("video", "choose", [float("nan")], "Choose a number from 0 to 300"),
        ("video", "look", [{"video": {"path": "", "meta": {"_type": "gradio.FileData"}}}], ""),
        ("weak_labels", "look", [[], None, float("nan"), 0.5], ""),
        ("weak_labels", "look", [[], None, 3, float("inf")], ""),
    ],
)
def test_what_only_other_clients_send(addresses, page, name, data, words):
    """Sliders of Gradio let NaN pass, and an empty path becomes the folder of the server, which nobody is told."""
    import httpx

    address = f"{addresses[page]}gradio_api/call/{name}"
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(address, content=json.dumps({"data": data}), headers=headers, timeout=60)
    if answer.status_code == 200:
        answer = httpx.get(f"{address}/{answer.json()['event_id']}", timeout=60)
        assert "event: error" in answer.text
        assert words in answer.text
    for path in (str(ROOT), os.getcwd(), "/tmp", "Traceback"):
        assert path not in answer.text


def test_a_video_that_is_too_long(addresses, open_page, tmp_path):
    page = open_page(addresses["video"])
    upload(page, write_video(tmp_path / "long.mp4", (32, 32), 301))
    page.wait_for_selector("#upload video")
    page.click("#run")
    assert "more than 300 frames" in message(page)


def test_one_image_has_nothing_in_common(addresses, open_page, scene):
    page = open_page(addresses["weak_labels"])
    upload(page, scene)
    page.wait_for_selector("#upload img")
    page.click("#run")
    assert "Choose 2 to 12 images" in message(page)


@contextmanager
def counting_page(model, folder, *lines):
    """The address of the counting page with another model, in a process of its own that runs some lines before."""
    script = folder / "page.py"
    before = ("import sys", f"sys.path.insert(0, {str(ROOT / 'spaces')!r})", "import serve")
    after = (
        "from dense_hf.spaces import launch",
        f"app = serve.load_app('count').build({str(model)!r})",
        "print(launch(app, '20mb', wait=False), flush=True)",
        "sys.stdin.read()",
    )
    script.write_text("\n".join((*before, *lines, *after)))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, str(script)], **pipes) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def test_two_visitors_at_once(browser, open_page, counter_checkpoint, scene, tmp_path):
    """Both are inside the model at the same time: each waits there until the other has come."""
    lines = (
        "import threading",
        "from dense_hf import IOCFormerImageProcessor as Processor",
        "both, count = threading.Barrier(2, timeout=120), Processor.count_objects",
        "Processor.count_objects = lambda *values, **named: both.wait() and False or count(*values, **named)",
    )
    expected = pipeline("object-counting", model=counter_checkpoint)(str(scene))["count"]
    with counting_page(counter_checkpoint, tmp_path, *lines) as address:
        visitors = [open_page(address) for _ in range(2)]
        for page in visitors:
            upload(page, scene)
            page.wait_for_selector("#upload img")
        for page in visitors:
            page.click("#run")
        assert [wait_for_number(page, "count") for page in visitors] == [expected, expected]


def test_a_counter_without_points(browser, open_page, scene, tmp_path):
    """Its number is that of the density map, with the range that was calibrated; nothing of points is on the page."""
    model, processor = tiny_density_model(), CounterImageProcessor()
    model.save_pretrained(tmp_path / "model")
    examples = []
    for index in range(12):
        pixels, points = draw_scene(np.random.default_rng(index), (96, 96), 5 + index, contrast=1.0)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        examples.append(CountingExample(tmp_path / f"{index}.png", (96, 96), points))
    processor.count_calibration = calibrate_counts(model, processor, examples, levels=[0.8], progress=False)
    processor.save_pretrained(tmp_path / "model")
    result = pipeline("object-counting", model=str(tmp_path / "model"))(str(scene))
    with counting_page(tmp_path / "model", tmp_path) as address:
        page = open_page(address)
        upload(page, scene)
        page.wait_for_selector("#upload img")
        page.click("#run")
        assert wait_for_number(page, "count") == result["count"] > 0
        assert number(page, "density_count") == round(result["density_count"], 1)
        low, high = result["range"]
        page.wait_for_function(f"document.querySelector('#range').innerText.includes('{low} to {high}')")
        page.wait_for_selector("#density img")
        for name in ("#threshold", "#points", "#download"):
            assert not page.locator(name).is_visible()


def test_nothing_was_asked_of_another_machine(addresses, server_folder):
    """The last of this file: the server has done its work. What pages ask is looked at in `open_page`."""
    assert (server_folder / "notes.txt").read_text() == "ready\n"


@pytest.mark.parametrize("name", SPACES)
def test_a_folder_is_a_space(name):
    """Its card is what the Hub reads, with a version of Gradio that setup.cfg allows."""
    folder = ROOT / "spaces" / name
    card = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert card["sdk"] == "gradio"
    assert (folder / card["app_file"]).is_file()
    assert len(card["short_description"]) <= 60
    assert card["sdk_version"].startswith("6.")
    assert card["suggested_hardware"] in ("cpu-basic", "cpu-upgrade", "t4-small")
    app = (folder / card["app_file"]).read_text(encoding="utf-8")
    assert [f'"{model}")' in app for model in card["models"]] == [
        True
    ]  # that of a Space which nobody has told another
    assert f"page_or_reason(build, options.model, {json.dumps(card['title'])}" in app


@pytest.mark.parametrize("name", SPACES)
def test_a_space_without_its_model_says_so(name, tmp_path, monkeypatch):
    """It starts all the same: a dead Space tells nobody why."""
    monkeypatch.syspath_prepend(str(ROOT / "spaces"))
    import serve

    app, shown = serve.load_app(name), []
    monkeypatch.setattr(app, "launch", lambda page, *settings: shown.append(page.get_config_file()))
    app.main(["--model", str(tmp_path / "no-model")])
    texts = [str(one["props"].get("value")) for one in shown[0]["components"]]
    assert any("There is no model to show here yet" in text for text in texts)
    assert any("no-model" in text for text in texts)
    assert any(f"{name.upper()}_MODEL" in text for text in texts)
