"""Extra images in all steps of chapter 3: one small run of the pipeline, what it leaves, and what steps refuse."""

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from tiny_affinity import SECTIONS as REFINEMENT
from tiny_mcis import tiny_model
from tiny_segmenter_runs import CLASSES, make_set, segmenter_sections
from tiny_weak_runs import sections

from dense_hf.data import open_image
from dense_hf.data.weak_folder import WeakFolder, WeakImage
from dense_hf.data.weak_source import WeakSource, read_weak_training
from dense_hf.inference.checkpoints import load_mcis
from dense_hf.inference.localization_maps import make_maps
from dense_hf.training.extra_sources import count_extra_images
from dense_hf.training.run import name_data
from dense_hf.weak_segmentation import ImageGroup, LocalizationSettings, Localizer, MCISImageProcessor

pytestmark = pytest.mark.no_cover

SCRIPTS = Path(__file__).parents[3] / "scripts"
LABELS = {"web_0": (0,), "web_1": (1, 2), "single_0": (2,)}  # of the extra images, two of a folder, one of a list
QUICK = {"use_views": False, "num_references": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Folders data (4 images to train on, 2 to judge by), web and single; a mask that is of no image of data."""
    root = tmp_path_factory.mktemp("sources")
    make_set(root / "data", train=4, val=2)
    (root / "web" / "images").mkdir(parents=True)
    (root / "single" / "images").mkdir(parents=True)
    generator = np.random.default_rng(3)
    for name in LABELS:
        pixels = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((48, 40), Image.Resampling.NEAREST)
        picture.save(root / name.split("_")[0] / "images" / f"{name}.png")
    (root / "web" / "labels.csv").write_text("image,labels\nweb_0,cat\nweb_1,dog;potted plant\n")
    shutil.copy(root / "data" / "classes.txt", root / "web")
    (root / "single" / "list.txt").write_text("single_0 3\n")
    Image.new("L", (5, 5)).save(root / "data" / "train" / "masks" / "web_0.png")
    return root


@pytest.fixture(scope="module")
def sources(place) -> list[dict]:
    """As a configuration says them, both of domain 1."""
    single = {"list": str(place / "single" / "list.txt"), "images_dir": str(place / "single" / "images")}
    return [{"data_dir": str(place / "web"), "domain": 1}, {**single, "domain": 1, "first_class": 1}]


@pytest.fixture(scope="module")
def words(sources) -> list[str]:
    """As a command line says them."""
    return ["--extra_sources", *map(json.dumps, sources)]


@pytest.fixture(scope="module")
def output(place, sources, run_here) -> Path:
    """What the pipeline makes with real steps, in this process; only the classifier's part names the sources."""
    config = sections(place / "data", {"num_domains": 2}, num_train_epochs=1)
    config["classifier"]["data"]["extra_sources"] = sources
    config["localization"] = QUICK
    training = REFINEMENT["training"] | {"num_train_epochs": 1}
    config["refinement"] = REFINEMENT | {"training": training, "walk": {"num_steps": 2}}
    config["pseudo_labels"] = {"background_score": 0.3, "min_object_share": 0.0}
    config["segmenter"] = segmenter_sections(training={"max_steps": 1})
    config["evaluation"] = {"scales": [1.0], "window": 33, "stride": 22, "crf": False}
    path = place / "run.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(SCRIPTS)
        program = importlib.import_module("run_weak_pipeline")

        def run_script(step, path, options):
            run_here(step.script, "--config", path, *step.arguments)

        monkeypatch.setattr(program, "run_script", run_script)
        options = ["--config", path, "--data_dir", place / "data", "--output", place / "run"]
        program.main([*map(str, options)])
    return place / "run"


@pytest.fixture(scope="module")
def images(place, sources) -> WeakFolder:
    return read_weak_training(place / "data", sources)


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_extra_images_get_maps_and_labels(output, images):
    assert [image.name for image in images.images[4:]] == list(LABELS)
    assert {image.name: image.labels for image in images.images[4:]} == LABELS
    expected = {f"{image.name}_{class_id}.png" for image in images.images for class_id in image.labels}
    for folder in ("maps", "refined_maps"):
        assert {path.name for path in (output / folder).glob("*.png")} == expected
    assert {path.stem for path in (output / "pseudo_labels").glob("*.png")} == {i.name for i in images.images}
    certain = output / "affinity" / "_certain_labels"
    assert {path.stem for path in certain.glob("*.png")} == {image.name for image in images.images}


@pytest.mark.smoke
def test_labels_of_the_target_set_are_judged_and_all_are_counted(output):
    summary = read_json(output / "pseudo_labels" / "pseudo_labels.json")
    assert summary["images_per_source"] == [4, 2, 1]
    assert summary["num_labels"] == 7
    assert summary["quality"]["num_images"] == 4, "the mask of the name web_0 is not of that image"


def test_the_segmenter_learns_from_extra_images_and_says_so(output):
    results = read_json(output / "segmenter" / "results.json")
    assert results["num_training_images"] == 7
    assert results["num_extra_images"] == {"web": 2, "single/list.txt": 1}
    for folder in ("classifier", "affinity", "segmenter"):
        card = ModelCard.load(output / folder / "README.md").content
        assert "**data, and 2 images of web, 1 images of single/list.txt**" in card
        assert "7 train images" in card


def test_the_report_counts_both(output, place):
    page = (output / "report.html").read_text(encoding="utf-8")
    assert f"<p>4 training images of {place / 'data'} and 3 of extra sources, 3 classes." in page
    assert "num images</td><td class='number'>7<" in page


def test_maps_are_of_the_matrix_of_their_domains(place, images, words, run_here, tmp_path):
    """Target images with extra references and extra images with target references."""
    tiny_model(num_domains=2, num_labels=3, id2label=dict(enumerate(CLASSES))).save_pretrained(tmp_path / "model")
    MCISImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "model")
    options = ["--model", tmp_path / "model", "--data_dir", place / "data", "--output", tmp_path / "maps", *words]
    run_here("make_maps.py", *options, "--use_views", "false", "--num_references", 4, "--quiet")
    model, processor = load_mcis(str(tmp_path / "model"))
    paths = {image.name: image.path for image in images.images}
    settings = LocalizationSettings(use_views=False, num_references=4)

    def maps_of(domains: dict[str, int]) -> dict[str, np.ndarray]:
        group = ImageGroup(images.image_labels(), lambda name: open_image(paths[name]), domains)
        with Localizer(model, processor, group, settings) as localizer:
            found = {name: localizer.attention(name) for name in paths}
        return {f"{name}_{class_id}": values for name, maps in found.items() for class_id, values in maps.items()}

    expected, of_one_domain = maps_of(dict.fromkeys(LABELS, 1)), maps_of({})
    for name, values in expected.items():
        assert np.array_equal(np.asarray(Image.open(tmp_path / "maps" / f"{name}.png")), values), name
    changed = {name.split("_")[0] for name in expected if not np.array_equal(expected[name], of_one_domain[name])}
    assert changed >= {"train", "web"}, "it matters to both"


def test_a_model_of_one_domain_makes_maps_of_all(images, tmp_path):
    """Training lets all domains share its matrix, and so do maps."""
    model = tiny_model(num_labels=3, id2label=dict(enumerate(CLASSES)))
    processor = MCISImageProcessor(size={"height": 64, "width": 64})
    summary = make_maps(model, processor, images, tmp_path / "maps", LocalizationSettings(**QUICK), "", progress=False)
    assert summary["num_images"] == 7


def steps(place: Path, output: Path) -> dict[str, list]:
    """Each script with what it was given, without sources."""
    data, config = ["--data_dir", place / "data"], ["--config", place / "run.yaml"]
    maps, refined, labels = (output / name for name in ("maps", "refined_maps", "pseudo_labels"))
    affinity, again = output / "affinity", ["--resume_from_checkpoint", "auto"]
    return {
        "train_mcis.py": [*data, *again, "--output_dir", output / "classifier"],
        "make_maps.py": [*config, *data, "--model", output / "classifier", "--output", maps],
        "train_affinity.py": [*config, *data, *again, "--maps", maps, "--output_dir", affinity],
        "refine_maps.py": [*config, *data, "--maps", maps, "--model", affinity, "--output", refined],
        "make_pseudo_labels.py": [*config, *data, "--maps", refined, "--output", labels],
        "train_deeplab.py": [*data, *again, "--pseudo_labels", labels, "--output_dir", output / "segmenter"],
    }


STEPS = ("train_mcis.py", "make_maps.py", "train_affinity.py", "refine_maps.py", "make_pseudo_labels.py")


@pytest.mark.parametrize("script", [*STEPS, "train_deeplab.py"])
def test_a_name_in_two_sources_is_an_error_of_every_step(place, output, words, run_here, script):
    with pytest.raises(SystemExit, match=rf"{script}: names of images must be unique.* \['web_0', 'web_1'\]"):
        run_here(script, *steps(place, output)[script], *words, words[1])


@pytest.mark.parametrize("script", STEPS[1:])
def test_what_was_made_with_other_sources_does_not_go_on(place, output, words, run_here, script):
    with pytest.raises(SystemExit, match=rf"{script}: .*settings\.json: expected .*'images'.*choose another folder"):
        run_here(script, *steps(place, output)[script], *words[:2])


def test_a_split_of_the_target_set_and_all_of_the_sources(place, sources):
    images = read_weak_training(place / "data", sources, split="val")
    assert [image.name for image in images.images] == ["val_0", "val_1", *LABELS]
    assert images.images_per_source() == [2, 2, 1]


def test_names_and_counts_for_cards():
    here = Path("photo.jpg")
    drawn = [WeakImage(f"synthetic_train_{number}", here, (0,)) for number in range(2)]
    folder = WeakFolder(("cat",), (*drawn, *(WeakImage(f"web_{n}", here, (0,), source=n) for n in (1, 3))))
    assert name_data("mine", [image.name for image in drawn]) == "mine (synthetic images, drawn by a program)"
    assert name_data("mine", [image.name for image in folder.images]) == name_data("mine", []) == "mine"
    twice = [WeakSource(data_dir=f"{parent}/web") for parent in "abc"] + [WeakSource(list="d/l.txt", images_dir="d")]
    assert count_extra_images(twice, folder) == {"web": 2, "d/l.txt": 0}
