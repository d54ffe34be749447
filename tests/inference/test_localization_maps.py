"""Maps and pseudo labels as files: equal to the plain calls, whole after a stop, the same from two processes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from programs import run, run_processes
from tiny_mcis import picture, tiny_model

from dense_hf.data import open_image, read_weak_split
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checkpoints import load_mcis
from dense_hf.inference.localization_maps import image_group, make_maps
from dense_hf.inference.pseudo_label_files import LabelMaker, make_labels
from dense_hf.metrics.pseudo_labels import PseudoLabelQuality
from dense_hf.weak_segmentation import (
    DenseCRF,
    LocalizationSettings,
    Localizer,
    MCISImageProcessor,
    PseudoLabelSettings,
    make_pseudo_label,
)

SCRIPTS = Path(__file__).parents[2] / "scripts"
CLASSES = ("cat", "dog", "car", "tree", "cow")
LABELS = {
    "turned": "cat;car",
    "palette": "cat",
    "gray": "car;cow",
    "plain": "cat;cow",
    "empty": "",
    "alone": "tree",
    "tall": "car",
}
FIRST = ["--use_views", "false", "--num_references", "2", "--seed", "3"]
QUICK = LocalizationSettings(use_views=False, num_references=2, seed=3)


def write_images(folder: Path) -> None:
    """Files of all kinds that readers treat each in its way."""
    folder.mkdir(parents=True)
    sideways = Image.Exif()
    sideways[0x0112] = 6
    picture(1).save(folder / "turned.jpg", exif=sideways)  # 50 x 70 when upright
    picture(2).quantize(16).save(folder / "palette.png")
    picture(3).convert("L").save(folder / "gray.png")
    for seed, name in enumerate(("plain", "empty", "alone"), start=4):
        picture(seed).save(folder / f"{name}.png")
    picture(7, width=30, height=64).save(folder / "tall.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A split "train" of 7 images with saliency for all but one, and masks for two."""
    root = tmp_path_factory.mktemp("weak")
    write_images(root / "train" / "images")
    rows = "".join(f"{name},{labels}\n" for name, labels in LABELS.items())
    (root / "train" / "labels.csv").write_text(f"image,labels\n{rows}")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    (root / "saliency").mkdir()
    (root / "train" / "masks").mkdir()
    generator = np.random.default_rng(0)
    for image in read_weak_split(root).images:
        upright = open_image(image.path)
        blocks = Image.fromarray(generator.integers(0, 2, (3, 3), dtype=np.uint8) * 255)
        if image.name != "plain":
            blocks.resize(upright.size, Image.Resampling.NEAREST).save(root / "saliency" / f"{image.name}.png")
        if image.name in ("gray", "turned"):
            mask = np.asarray(blocks.resize(upright.size, Image.Resampling.NEAREST)) // 255 * (image.labels[0] + 1)
            Image.fromarray(mask.astype(np.uint8)).save(root / "train" / "masks" / f"{image.name}.png")
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_model(id2label=dict(enumerate(CLASSES))).save_pretrained(folder)
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def maps(tmp_path_factory, data, checkpoint, run_here):
    """Of the script, with few references."""
    folder = tmp_path_factory.mktemp("maps") / "maps"
    options = ("--model", checkpoint, "--data_dir", data, "--output", folder, "--quiet", *FIRST)
    run_here("make_maps.py", *options)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


# maps


def test_maps_are_those_of_the_localizer(data, checkpoint, maps):
    images = read_weak_split(data)
    model, processor = load_mcis(str(checkpoint))
    expected = {}
    with Localizer(model, processor, image_group(images), QUICK) as localizer:
        for image in images.images:
            for class_id, attention in localizer.attention(image.name).items():
                expected[f"{image.name}_{class_id}.png"] = attention
    assert {path.name for path in maps.glob("*.png")} == set(expected)
    assert len(expected) == 9
    for name, attention in expected.items():
        written = Image.open(maps / name)
        assert written.mode == "L"
        assert np.array_equal(np.asarray(written), attention)
    assert pixels(maps / "turned_0.png").shape == (70, 50), "upright"


def test_summary_of_maps(checkpoint, maps):
    summary = json.loads((maps / "localization.json").read_text())
    assert summary["model"] == str(checkpoint)
    assert summary["num_references"] == 2
    assert summary["use_views"] is False
    assert summary["num_images"] == 7
    assert summary["num_maps"] == 9
    assert summary["maps_per_class"] == {"cat": 3, "dog": 0, "car": 3, "tree": 1, "cow": 2}
    assert summary["images_without_label"] == ["empty"]


def test_settings_of_the_file_and_of_the_command_line(data, checkpoint, maps, run_here, tmp_path):
    file = tmp_path / "run.yaml"
    part = {"model": str(checkpoint), "data_dir": str(data), "use_views": False, "num_references": 5, "seed": 3}
    file.write_text(yaml.safe_dump({"localization": part, "classifier": {"model": {"hidden_size": 16}}}))
    options = ("--config", file, "--output", tmp_path / "maps", "--num_references", 2, "--cache_gb", 0, "--quiet")
    run_here("make_maps.py", *options)
    assert contents(tmp_path / "maps") == contents(maps)


@pytest.mark.parametrize("damage", ["missing", "cut off", "other size"])
def test_what_is_not_whole_is_made_again_and_the_rest_is_kept(data, checkpoint, maps, tmp_path, damage):
    folder = tmp_path / "maps"
    folder.mkdir()
    for name, content in contents(maps).items():
        (folder / name).write_bytes(content)
    broken = folder / "gray_2.png"
    (folder / "localization.json").unlink()
    (folder / ".settings.json.0.partial").write_bytes(b"{")  # of a process that was killed
    if damage == "missing":
        broken.unlink()
    elif damage == "cut off":
        broken.write_bytes(broken.read_bytes()[:-40])
    else:
        Image.new("L", (3, 3)).save(broken)
    images = read_weak_split(data)
    model, processor = load_mcis(str(checkpoint))
    passes = []
    model.neck.register_forward_hook(lambda *_: passes.append(1))
    make_maps(model, processor, images, folder, QUICK, str(checkpoint), progress=False)
    assert not (folder / ".settings.json.0.partial").exists()
    assert contents(folder) == contents(maps)
    references = {other for k in (2, 4) for other in image_group(images).references("gray", k, 2, True, True, 3)}
    assert len(passes) == len(references | {"gray"}), "only what this image needs"


def test_maps_of_others_are_not_mixed(data, checkpoint, maps, run_here, tmp_path):
    before = contents(maps)
    model, processor = load_mcis(str(checkpoint))
    images = read_weak_split(data)
    other = LocalizationSettings(use_views=False, num_references=2, seed=4)
    with pytest.raises(InvalidDataError, match=r"settings\.json: expected maps of \{'seed': 4\}.*\{'seed': 3\}"):
        make_maps(model, processor, images, maps, other, str(checkpoint))
    fewer = read_weak_split(data).images[:3]
    with pytest.raises(InvalidDataError, match=r"expected maps of \{'images'"):
        make_maps(model, processor, type(images)(images.class_names, fewer), maps, QUICK, str(checkpoint))
    with pytest.raises(InvalidDataError, match=r"expected maps of \{'hash'"):
        make_maps(tiny_model(1), processor, images, maps, QUICK, str(checkpoint))
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InvalidDataError, match="a new or empty folder"):
        make_maps(model, processor, images, tmp_path, QUICK, str(checkpoint))
    assert contents(maps) == before


def test_classes_must_be_those_of_the_model(data):
    processor = MCISImageProcessor()
    images = read_weak_split(data)
    with pytest.raises(InvalidDataError, match="a model of the 5 classes of the data"):
        make_maps(tiny_model(num_labels=4), processor, images, "maps", QUICK, "")
    others = dict(enumerate(("lamp", *CLASSES[1:])))
    with pytest.raises(InvalidDataError, match="and also lamp"):
        make_maps(tiny_model(id2label=others), processor, images, "maps", QUICK, "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num_references", "-1"], "num_references and seed must be at least 0"),
        (["--cache_gb", "-1"], "cache_gb must be at least 0"),
        (["--split", "dev"], "dev"),
        (["--model", "nowhere/at/all"], "nowhere/at/all"),
        (["--config", "missing.yaml"], "missing.yaml: expected an existing file"),
    ],
)
def test_what_the_script_refuses(data, checkpoint, run_here, tmp_path, options, message):
    with pytest.raises(SystemExit) as stop:
        run_here("make_maps.py", "--model", checkpoint, "--data_dir", data, "--output", tmp_path / "maps", *options)
    assert str(stop.value).startswith("make_maps.py: ")
    assert message in str(stop.value)
    assert not (tmp_path / "maps").exists()


def test_a_broken_image_is_named(data, checkpoint, run_here, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"no image")
    (tmp_path / "labels.csv").write_text("image,labels\na,cat\n")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    with pytest.raises(SystemExit, match=r"a\.png: expected a complete"):
        run_here("make_maps.py", "--model", checkpoint, "--data_dir", tmp_path, "--output", tmp_path / "m", "--quiet")
    assert not (tmp_path / "m" / "localization.json").exists()


# pseudo labels


def maker(data, maps, output, saliency=True, masks=True, **numbers) -> LabelMaker:
    return LabelMaker(
        CLASSES,
        Path(maps),
        Path(output),
        PseudoLabelSettings(**numbers),
        data / "saliency" if saliency else None,
        data / "train" / "masks" if masks else None,
    )


def attention(maps: Path, image) -> dict[int, np.ndarray]:
    return {class_id: pixels(maps / f"{image.name}_{class_id}.png") for class_id in image.labels}


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_labels_with_saliency_are_those_of_the_function(data, maps, tmp_path, run_here, capsys, num_workers):
    options = ("--maps", maps, "--data_dir", data, "--saliency", data / "saliency", "--min_attention", 0.4, "--quiet")
    run_here("make_pseudo_labels.py", *options, "--output", tmp_path / "labels", "--num_workers", num_workers)
    summary = json.loads((tmp_path / "labels" / "pseudo_labels.json").read_text())
    counts, quality = np.zeros(256, int), PseudoLabelQuality(6)
    whole = []
    for image in read_weak_split(data).images:
        path = tmp_path / "labels" / f"{image.name}.png"
        if image.name == "plain":
            assert not path.exists(), "no saliency, no label"
            continue
        saliency = pixels(data / "saliency" / f"{image.name}.png")
        expected = make_pseudo_label(attention(maps, image), saliency, 5, min_attention=0.4)
        assert Image.open(path).mode == "P"
        assert np.array_equal(pixels(path), expected)
        counts += np.bincount(expected.ravel(), minlength=256)
        whole += [image.name] if (expected == 255).all() else []
        if image.name in ("gray", "turned"):
            quality.update([expected], [pixels(data / "train" / "masks" / f"{image.name}.png")])
    assert summary["images_without_saliency"] == ["plain"]
    assert (summary["num_images"], summary["num_labels"]) == (7, 6)
    assert summary["ignored_images"] == whole
    assert summary["background_pixels"] == counts[0]
    assert summary["ignored_pixels"] == counts[255]
    assert list(summary["pixels_per_class"].values()) == counts[1:6].tolist()
    assert summary["quality"]["num_images"] == 2
    assert summary["quality"]["mean_iou"] == quality.compute()["mean_iou"]
    printed = capsys.readouterr().out
    assert "6 pseudo labels of 7 images" in printed
    assert f"| background | {100 * quality.compute()['per_class_iou'][0]:.1f} |" in printed


@pytest.mark.parametrize("numbers", [{"background_score": 0.35}, {"background_power": 3.0}])
@pytest.mark.parametrize("crf", [False, True])
def test_labels_without_saliency(data, maps, tmp_path, numbers, crf):
    images = read_weak_split(data)
    made = maker(data, maps, tmp_path / "labels", saliency=False, masks=False, crf=crf, **numbers)
    summary = make_labels(made, images, progress=False)
    assert summary["images_without_label"] == ["empty"]
    assert summary["quality"] is None
    for image in images.images:
        found = pixels(tmp_path / "labels" / f"{image.name}.png")
        picture = np.asarray(open_image(image.path))
        if not image.labels:
            assert not found.any()
            assert found.shape == picture.shape[:2]
            continue
        refine = (lambda scores, picture=picture: DenseCRF()(picture, scores)) if crf else None
        expected = make_pseudo_label(attention(maps, image), None, 5, **numbers, refine=refine)
        assert np.array_equal(found, expected)


def test_the_crf_changes_labels_and_keeps_conflicts():
    """The scores of a CRF sum to 1, so no two of them are above `conflict_score`."""
    ramp = np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))
    maps = {0: ramp, 1: np.where(ramp > 230, 255, 0).astype(np.uint8)}
    ramp[:, -2:] = 255
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, 30:] = 200
    plain = make_pseudo_label(maps, None, 5)
    refined = make_pseudo_label(maps, None, 5, refine=lambda scores: DenseCRF()(picture, scores))
    assert (plain == 255).any()
    assert np.array_equal(refined == 255, plain == 255)
    assert (refined != plain).any()
    with pytest.raises(ValueError, match="without saliency only"):
        make_pseudo_label(maps, ramp, 5, refine=lambda scores: scores)


def test_labels_that_are_there_are_kept_and_counted(data, maps, tmp_path):
    images = read_weak_split(data)
    made = maker(data, maps, tmp_path / "labels")
    make_labels(made, images, progress=False)
    before = contents(tmp_path / "labels")
    (tmp_path / "labels" / "gray.png").write_bytes(b"cut off")
    (tmp_path / "labels" / "tall.png").unlink()
    kept = (tmp_path / "labels" / "turned.png").stat().st_mtime_ns
    make_labels(made, images, progress=False)
    assert contents(tmp_path / "labels") == before
    assert (tmp_path / "labels" / "turned.png").stat().st_mtime_ns == kept
    with pytest.raises(InvalidDataError, match=r"pseudo labels of \{'min_attention': 0\.5\}; choose another folder"):
        make_labels(maker(data, maps, tmp_path / "labels", min_attention=0.5), images)


def test_images_that_are_ignored_as_a_whole_are_counted(data, maps, tmp_path):
    images = read_weak_split(data)
    summary = make_labels(
        maker(data, maps, tmp_path / "labels", saliency=False, min_object_share=1.0), images, progress=False
    )
    assert summary["ignored_images"] == [image.name for image in images.images if image.labels]
    assert summary["quality"]["num_empty"] == 2


def test_what_labels_cannot_be_made_of(data, maps, tmp_path):
    images = read_weak_split(data)
    with pytest.raises(InvalidDataError, match=r"a map NAME_ID\.png .* 9 of 9 missing: turned_0\.png"):
        make_labels(maker(data, tmp_path / "nothing", tmp_path / "labels"), images)
    with pytest.raises(ValueError, match="without saliency"):
        make_labels(maker(data, maps, tmp_path / "labels", crf=True), images)
    elsewhere = LabelMaker(CLASSES, maps, tmp_path / "labels", PseudoLabelSettings(), tmp_path / "nothing")
    with pytest.raises(InvalidDataError, match=r"saliency NAME\.png of the images\. Received: none"):
        make_labels(elsewhere, images)
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Image.new("L", (9, 8)), r"gray\.png: expected the size of its image, 70 x 50. Received: 9 x 8"),
        (lambda: Image.new("RGB", (70, 50)), r"gray\.png: expected a gray PNG of 8 bits"),
        (lambda: Image.new("P", (70, 50)), r"a gray PNG of 8 bits\. Received: a PNG file of mode P"),
        (lambda: Image.new("I;16", (70, 50)), "mode I;16"),
    ],
)
def test_bad_saliency_is_named(data, maps, tmp_path, make, message):
    (tmp_path / "saliency").mkdir()
    make().save(tmp_path / "saliency" / "gray.png")
    made = LabelMaker(CLASSES, maps, tmp_path / "labels", PseudoLabelSettings(), tmp_path / "saliency")
    with pytest.raises(InvalidDataError, match=message):
        make_labels(made, read_weak_split(data), progress=False)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"min_attention": 1.5, "min_saliency": 300}, r"min_attention must be in .*; min_saliency must be"),
        ({"background_power": 0.0}, "background_power must be positive"),
        ({"crf": True, "background_score": 0.0}, "crf needs a background_score above 0"),
        ({"conflict_score": float("nan")}, "conflict_score must be in"),
    ],
)
def test_bad_numbers(numbers, message):
    with pytest.raises(ValueError, match=message):
        PseudoLabelSettings(**numbers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--masks", "maybe"], "masks must be one of auto, no"),
        (["--num_workers", "-1"], "num_workers must be at least 0"),
        (["--crf", "--saliency", "x"], "without saliency"),
        (["--background_score", "0.3", "--saliency", "x"], "not both. Received: --background_score 0.3 beside"),
    ],
)
def test_what_the_script_of_labels_refuses(data, maps, run_here, tmp_path, options, message):
    with pytest.raises(SystemExit, match=f"make_pseudo_labels.py: .*{message}"):
        run_here(
            "make_pseudo_labels.py", "--maps", maps, "--data_dir", data, "--output", tmp_path / "labels", *options
        )


# several processes


def command(checkpoint, data, output) -> list[str]:
    options = ["--model", str(checkpoint), "--data_dir", str(data), "--output", str(output), *FIRST]
    return [sys.executable, str(SCRIPTS / "make_maps.py"), *options]


@pytest.mark.slow
def test_two_processes_make_what_one_makes(data, checkpoint, maps, tmp_path, script_environment):
    done = run_processes(2, command(checkpoint, data, tmp_path / "maps"), env=script_environment)
    assert done.stdout.count("9 maps of 7 images") == 1
    assert contents(tmp_path / "maps") == contents(maps)


@pytest.mark.slow
def test_a_killed_run_goes_on(data, checkpoint, maps, tmp_path, script_environment, run_here):
    """Killed when its fourth file has been written under a temporary name and was not renamed yet."""
    output = tmp_path / "maps"
    program = """
import os, runpy, signal, sys
rename, calls = os.replace, []
def replace(*names):
    calls.append(names)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*names)
os.replace = replace
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    python, *options = command(checkpoint, data, output)
    killed = run([python, "-c", program, *options], env=script_environment, stderr=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    there = {path.name: path.stat().st_mtime_ns for path in output.glob("[!.]*.png")}
    assert len(there) == 2, "the first file is settings.json"
    assert not (output / "localization.json").exists()
    run_here("make_maps.py", *options[1:], "--quiet")
    assert {name: content for name, content in contents(output).items() if "partial" not in name} == contents(maps)
    assert there == {name: (output / name).stat().st_mtime_ns for name in there}
