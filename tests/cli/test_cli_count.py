"""`dense-hf count`: tables and overlays of files, folders and patterns, with a small model of random weights."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import run

from dense_hf.cli import main
from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor, count_image
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.inference.image_files import find_images, output_names


@pytest.fixture
def survey(tmp_path, noise):
    """monday/1.png, monday/1.jpg, tuesday/1.png, tuesday/night/2.TIF and a text file."""
    folder = tmp_path / "survey"
    for seed, (name, size) in enumerate(
        {
            "monday/1.png": (150, 100),
            "monday/1.jpg": (64, 64),
            "tuesday/1.png": (40, 130),
            "tuesday/night/2.TIF": (70, 70),
        }.items()
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise(*size, seed).save(folder / name, quality=95)
    (folder / "monday/notes.txt").write_text("wind from the east")
    return folder


def results(output):
    document = json.loads((output / "counts.json").read_text())
    with open(output / "counts.csv", newline="") as file:
        images = list(csv.DictReader(file))
    with open(output / "points.csv", newline="") as file:
        points = list(csv.DictReader(file))
    return document, images, points


@pytest.mark.smoke
def test_tables_say_what_the_library_counts(counter_checkpoint, survey, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["count", str(survey), "-r", "--output", str(output), "--model", counter_checkpoint]
    assert main([*arguments, "--threshold", "0.4"]) == 0
    document, images, points = results(output)
    files = ["monday/1.jpg", "monday/1.png", "tuesday/1.png", "tuesday/night/2.TIF"]
    assert [row["file"] for row in images] == [str(survey / file) for file in files]
    model = IOCFormerForObjectCounting.from_pretrained(counter_checkpoint)
    processor = IOCFormerImageProcessor.from_pretrained(counter_checkpoint)
    for row, entry in zip(images, document["images"]):
        image = Image.open(row["file"])
        expected = count_image(model, processor, image, threshold=0.4)
        own_points = [[float(p["x"]), float(p["y"])] for p in points if p["file"] == row["file"]]
        assert (int(row["width"]), int(row["height"])) == image.size == (entry["width"], entry["height"])
        assert int(row["count"]) == expected["count"] == entry["count"] == len(own_points) > 0
        assert float(row["density_count"]) == pytest.approx(expected["density_count"])
        assert float(row["mean_score"]) == pytest.approx(float(expected["scores"].mean()))
        np.testing.assert_allclose(own_points, expected["points"], atol=1e-3)
        np.testing.assert_allclose([[p["x"], p["y"]] for p in entry["points"]], own_points)
    assert (document["threshold"], document["tile_size"], document["errors"]) == (0.4, 64, [])
    assert f"{survey / files[1]}: {images[1]['count']}" in capsys.readouterr().out


def test_a_model_whose_density_says_how_many(counter_checkpoint, survey, tmp_path):
    shutil.copytree(counter_checkpoint, tmp_path / "model")
    IOCFormerImageProcessor.from_pretrained(counter_checkpoint, count_by="density").save_pretrained(tmp_path / "model")
    words = ["count", str(survey / "monday/1.jpg"), "--model", str(tmp_path / "model"), "--no-overlays"]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    document, [image], points = results(tmp_path / "out")
    assert (document["threshold"], document["count_by"]) == (None, "density")
    assert int(image["count"]) == len(points) == min(12, round(float(image["density_count"])))  # of 12 queries
    assert main([*words, "--output", str(tmp_path / "sure"), "--threshold", "0.4"]) == 0
    document, _, sure = results(tmp_path / "sure")
    assert (document["threshold"], "count_by" in document) == (0.4, False)
    assert min(float(point["score"]) for point in sure) >= 0.4


def test_overlays_have_the_size_of_the_image_and_do_not_meet(counter_checkpoint, survey, tmp_path):
    output = tmp_path / "out"
    assert main(["count", str(survey), "-r", "--output", str(output), "--model", counter_checkpoint]) == 0
    overlays = {str(p.relative_to(output / "overlays")) for p in output.rglob("*.png")}
    files = ["monday/1.jpg", "monday/1.png", "tuesday/1.png", "tuesday/night/2.TIF"]
    assert overlays == {f"{file}_{kind}.png" for file in files for kind in ("points", "density")}
    for file in files:
        for kind in ("points", "density"):
            assert Image.open(output / "overlays" / f"{file}_{kind}.png").size == Image.open(survey / file).size
    assert not [p for p in output.rglob("*") if "partial" in p.name or p.name.startswith(".")]


def test_counting_again_does_not_count_the_overlays(counter_checkpoint, survey):
    arguments = ["count", str(survey), "-r", "--output", str(survey / "counts"), "--model", counter_checkpoint]
    assert main(arguments) == 0
    assert main(arguments) == 0
    assert len(results(survey / "counts")[1]) == 4


def test_bad_images_are_reported_and_the_others_counted(counter_checkpoint, survey, tmp_path, capsys):
    (survey / "monday/0-cut.jpg").write_bytes((survey / "monday/1.jpg").read_bytes()[:3000])
    (survey / "monday/9-fake.png").write_text("not an image")
    Image.new("1", (10000, 10000)).save(survey / "monday/giant.png")
    Image.new("F", (70, 70)).save(survey / "monday/floats.tif")
    missing = str(survey / "absent.png")
    output = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    sources = [missing, str(tmp_path / "empty"), str(survey / "monday"), str(survey / "tuesday/*.png")]
    assert main(["count", *sources, "--output", str(output), "--model", counter_checkpoint, "--no-overlays"]) == 1
    document, images, _ = results(output)
    assert [Path(row["file"]).name for row in images] == ["1.jpg", "1.png", "1.png"]
    reported = {Path(error["file"]).name: error["error"] for error in document["errors"]}
    assert set(reported) == {"absent.png", "empty", "0-cut.jpg", "9-fake.png", "giant.png", "floats.tif"}
    assert "truncated" in reported["0-cut.jpg"]
    assert "10000 x 10000" in reported["giant.png"]
    complaints = capsys.readouterr().err
    assert all(name in complaints for name in reported)
    assert not (output / "overlays").exists()


def test_unusual_modes_count_like_their_colours(counter_checkpoint, tmp_path, noise):
    gray = noise(100, 90).convert("L")
    gray.save(tmp_path / "gray.png")
    Image.fromarray(np.asarray(gray).astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    gray.convert("RGBA").save(tmp_path / "alpha.png")
    gray.convert("P").save(tmp_path / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 3
    gray.rotate(180).save(tmp_path / "turned.png", exif=exif)
    noise(100, 90).convert("CMYK").save(tmp_path / "cmyk.tif")
    assert main(["count", str(tmp_path), "--output", str(tmp_path / "out"), "--model", counter_checkpoint]) == 0
    document, _, _ = results(tmp_path / "out")
    points = {Path(image["file"]).stem: image["points"] for image in document["images"]}
    assert len(points) == 6
    for name in ("sixteen", "alpha", "palette", "turned"):
        assert points[name] == points["gray"], name


def test_pages_and_12_bits(counter_checkpoint, tmp_path, noise, capsys):
    """A stack is refused without --page; --white makes the pictures of a camera of 12 bits what they are."""
    picture = noise(100, 90).convert("L")
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in" / "plain.png")
    Image.new("L", (50, 40)).save(tmp_path / "stack.tif", save_all=True, append_images=[picture.copy()])
    Image.fromarray(np.asarray(picture).astype(np.uint16) * 16).save(tmp_path / "deep.png")
    values = np.asarray(picture).astype(np.float32)
    values[:2, :3] = np.nan
    Image.fromarray(values).save(tmp_path / "dem.tif")

    def points(source, *options):
        arguments = ["count", str(source), "--output", str(tmp_path / "out"), "--model", counter_checkpoint]
        if main([*arguments, "--no-overlays", *options]):
            return capsys.readouterr().err
        document = results(tmp_path / "out")[0]
        return document["images"][0]["points"]

    expected = points(tmp_path / "in")
    assert len(expected) > 3
    assert points(tmp_path / "stack.tif", "--page", "1") == expected
    assert points(tmp_path / "deep.png", "--white", "4080") == expected
    assert len(points(tmp_path / "deep.png", "--white", "99.9%")) > 3
    assert "stack.tif: expected a file with one picture, or its page" in points(tmp_path / "stack.tif")
    assert "no page 2; it has 2" in points(tmp_path / "stack.tif", "--page", "2")
    told = points(tmp_path / "dem.tif", "--white", "255")
    assert "dem.tif" in told
    assert "6 of 9000 values are NaN" in told
    assert "weights" not in told


def test_density_alone_and_points_alone(survey, tmp_path, save_counter):
    source = str(survey / "monday/1.png")
    density = save_counter(tmp_path / "density", regression_branch=False, density_fusion="none")
    assert main(["count", source, "--output", str(tmp_path / "a"), "--model", density]) == 0
    document, images, points = results(tmp_path / "a")
    assert int(images[0]["count"]) == round(float(images[0]["density_count"])) > 0
    assert points == []
    assert document["images"][0]["mean_score"] is None
    cltr = save_counter(tmp_path / "cltr", density_branch=False)
    assert main(["count", source, "--output", str(tmp_path / "b"), "--model", cltr]) == 0
    assert results(tmp_path / "b")[1][0]["density_count"] == ""
    assert {p.name for p in (tmp_path / "b").rglob("*.png")} == {"1.png_points.png"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--threshold", "35"], "Received: 35"),
        (["--batch-size", "0"], "Received: 0"),
        (["--tile-overlap", "64"], "overlap"),
        (["--device", "toaster"], "toaster"),
        (["--device", "cuda:9"], "--device: this machine has cpu"),
        (["--model", "no/such/folder"], "no/such/folder"),
    ],
)
def test_impossible_settings_end_with_a_message(counter_checkpoint, survey, tmp_path, capsys, change, message):
    arguments = [
        "count",
        str(survey / "monday"),
        "--model",
        counter_checkpoint,
        "--output",
        str(tmp_path / "out"),
        *change,
    ]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_to_count(counter_checkpoint, tmp_path, capsys):
    assert main(["count", str(tmp_path), str(tmp_path / "*.jpg"), "--model", counter_checkpoint]) == 2
    assert "--recursive" in capsys.readouterr().err


def test_incomplete_and_broken_weights(survey, tmp_path, capsys, save_counter):
    from safetensors.torch import load_file, save_file

    checkpoint = save_counter(tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    arguments = ["count", str(survey / "monday"), "--model", checkpoint, "--output", str(tmp_path / "out")]
    save_file({k: v for k, v in weights.items() if k != "class_head.bias"}, tmp_path / "model/model.safetensors")
    assert main(arguments) == 2
    assert "class_head.bias" in capsys.readouterr().err
    weights["class_head.weight"][1] = 3e38  # finite, unlike what comes of it
    save_file(weights, tmp_path / "model/model.safetensors")
    assert main(arguments) == 2
    assert "logits must be finite" in capsys.readouterr().err
    assert results(tmp_path / "out")[1] == []
    (tmp_path / "model/model.safetensors").rename(tmp_path / "model/pytorch_model.bin")
    assert main(arguments) == 2  # only a format whose reading runs no code
    assert "safetensors" in capsys.readouterr().err


def test_interrupted_runs_keep_whole_tables(counter_checkpoint, survey, tmp_path, monkeypatch):
    from dense_hf.inference import picture_counts

    drawn = []

    def interrupt_at_the_second(image, *args):
        drawn.append(image)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return image

    monkeypatch.setattr(picture_counts, "draw_points", interrupt_at_the_second)
    assert main(["count", str(survey), "-r", "--output", str(tmp_path / "out"), "--model", counter_checkpoint]) == 130
    assert len(results(tmp_path / "out")[1]) == 1


def test_find_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.jpg", "a/b/2.PNG", "a/notes.txt", "[x]/3.png", "a/out/4.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    names = lambda *sources, **options: [p.as_posix() for p in find_images(sources, **options)[0]]  # noqa: E731
    assert names("a") == ["a/1.jpg"]
    assert names("a", recursive=True, exclude="a/out") == ["a/1.jpg", "a/b/2.PNG"]
    assert names("a/**/*", exclude="a/out") == ["a/1.jpg", "a/b/2.PNG"]
    assert names("a/1.jpg", str(tmp_path / "a"), "./a/1.jpg") == ["a/1.jpg"]
    assert names("[x]/3.png", "a/notes.txt") == ["[x]/3.png", "a/notes.txt"]
    assert names("[x]") == ["[x]/3.png"]
    assert find_images(["a/*.gif", "gone.png"]) == ([Path("gone.png")], {"a/*.gif": "no images found"})


def test_output_names_are_different(tmp_path):
    paths = [tmp_path / "a/1.jpg", tmp_path / "b/1.jpg", tmp_path / "a/1.png", tmp_path / "a/b/1.jpg"]
    names = output_names(paths)
    assert len(set(names)) == 4
    assert not any(name.is_absolute() or ".." in name.parts for name in names)
    assert output_names(paths[:1]) == [Path("1.jpg")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_text(counter_checkpoint, tmp_path, noise, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    noise(64, 64).save(tmp_path / name)
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"no image")
    assert main(["count", str(tmp_path), "--output", str(tmp_path / "out"), "--model", counter_checkpoint]) == 1
    document, images, _ = results(tmp_path / "out")
    assert Path(images[0]["file"]).name == Path(document["images"][0]["file"]).name == "caf\ufffd.png"
    assert (tmp_path / "out/overlays" / f"{name}_points.png").exists()
    assert "caf\ufffd.png" in capsys.readouterr().out


@pytest.mark.slow
def test_the_program_in_a_process_of_its_own(counter_checkpoint, survey, tmp_path, script_environment):
    done = run(
        [sys.executable, "-m", "dense_hf.cli", "count", "survey", "absent.jpg", "-r", "--model", counter_checkpoint],
        cwd=tmp_path,
        env=script_environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "absent.jpg" in done.stderr
    assert "4 images; results in counts" in done.stdout
    assert len(results(tmp_path / "counts")[1]) == 4
