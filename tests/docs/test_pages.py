"""Commands and programs of docs/ and of the model cards: what can run here runs, of the rest the options exist.

The how-tos run from their first command to their last, each in one folder, so that what a command makes is what the
next ones use. What a reader has and a test has not stands in `REPLACED` and `PREPARED`, and `SHORTER` makes a training
of hours one of seconds; nothing else is different. A command that needs GPUs or the Hub has a line
`<!-- not run: reason -->` before its block.

All in this process, whose libraries are loaded already; those of README.md run in fresh ones. To add a page, put it
into a folder of `PAGES`.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import ROOT, RULES, Block, Served, blocks, call, check_command, commands, make_clone, manual_of
from PIL import Image
from small_maps import TEN_CENTIMETERS, write_map
from tiny_checkpoints import CHECKPOINTS
from transformers import SegformerForImageClassification

from dense_hf import cli
from dense_hf.data import VideoReader, generate_miniature_weak
from dense_hf.data.formats import AnnotatedImage, read_annotations, write_annotations
from dense_hf.export.hub import collect_repository
from dense_hf.export.runtime import ExportedCounter
from dense_hf.inference.checkpoints import load_counter, load_mcis, load_segmenter, load_video_model
from dense_hf.methods import method_of

pytestmark = pytest.mark.no_cover

OTHERS = [ROOT / "docs" / f"{name}.md" for name in ("hub", "challenge_setting", "results")]
HOWTOS = [*sorted(ROOT.glob("docs/howto/*.md")), *OTHERS]
CARDS = [*sorted(ROOT.glob("model_cards/[!t]*.md")), *sorted(ROOT.glob("checkpoints/*/README.md"))]
PAGES = [*HOWTOS, *CARDS]
# in cards commands say how something was made
BLOCKS = {
    f"{path.relative_to(ROOT)}:{block.line}": block._replace(
        not_run=block.not_run or ("a card" if path in CARDS else None)
    )
    for path in PAGES
    for block in blocks(path.read_text(encoding="utf-8"))
}
COMMANDS = {name: block for name, block in BLOCKS.items() if block.language == "bash"}
PROGRAMS = {name: block for name, block in BLOCKS.items() if block.language == "python"}


REPLACED = {
    "camera:0": "street.mp4",
    "rtsp://192.0.2.7/stream": "street.mp4",
    "scripts/configs/mrcfa/table_5.6_b1.yaml": "scripts/configs/mrcfa/smoke.yaml",
    "scripts/configs/mcis/table_3.1a.yaml": "scripts/configs/mcis/smoke.yaml",
    "scripts/configs/iocformer/small_data.yaml": "scripts/configs/iocformer/smoke.yaml",
    "mit_b1.pth": "mit_tiny",
    "your-name/trees": "hub/trees",
}
_VIDEO = "--max_steps 2 --warmup_steps 1 --save_steps 2 --samples_per_video 2 --per_device_train_batch_size 1"
SHORTER = {
    "scripts/train_cffm.py": _VIDEO,
    "scripts/train_mrcfa.py": _VIDEO,
    "scripts/train_iocformer.py": "--num_train_epochs 1 --lr_milestones 1 --samples_per_image 2 --warmup_steps 0 "
    "--save_every_epochs 1 --per_device_train_batch_size 2",
    "scripts/train_mcis.py": "--num_train_epochs 2 --lr_milestones 2",
    "scripts/train_deeplab.py": "--max_steps 2 --save_steps 2",
    "dense-hf compare": "--methods dmcount p2pnet --seeds 1 --steps 2 --batch_size 2 --crop_size 64 "
    "--backbone test_resnet --backbone_weights none",
}


def mit_tiny(folder: Path) -> None:
    """An encoder of the sizes of smoke.yaml, as a folder of transformers."""
    encoder = {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 5, 8]}
    SegformerForImageClassification(method_of("segformer").make_config("b1", encoder)).save_pretrained(folder)


def export(folder: Path, name: str, format: str) -> None:
    """What an annotation tool has written, of five pictures, enough for three splits, no smaller than a tile."""
    records = []
    for number in range(5):
        picture = f"{'abcde'[number]}.jpg"
        Image.effect_noise((260, 256), 60).convert("RGB").save(folder / "photos" / picture)
        points = np.random.default_rng(number).uniform(20, 230, (4, 2))
        records.append(AnnotatedImage.of_points(picture, points, (260, 256), ["fish"] * 4))
    (folder / name).unlink(missing_ok=True)
    write_annotations(records, folder / name, format)


def points_in_both(folder: Path) -> None:
    """A point in the picture that is trained on and in the other; and the export of a tool."""
    export(folder, "export.json", "coco")
    (folder / "points.csv").write_text("image,x,y\na.jpg,12,40.5\na.jpg,100,7\nb.jpg,50,60\nb.jpg,9,8\n")


def model_and_ten_pictures(folder: Path) -> None:
    """A model in runs/mine, and annotations of ten pictures, of which two more have none."""
    model, processor, _ = CHECKPOINTS["iocformer"]
    model().save_pretrained(folder / "runs" / "mine")
    processor.save_pretrained(folder / "runs" / "mine")
    lines = []
    for index in range(10):
        Image.effect_noise((64, 64), 40 + index).convert("RGB").save(folder / "photos" / f"{index}.jpg")
        points = [f'<points label="fish" points="{8 * k + 4}.0,9.0"/>' for k in range(index % 5)]
        lines.append(f'<image name="{index}.jpg" width="64" height="64">{"".join(points)}</image>')
    for name in ("a.jpg", "b.jpg"):
        (folder / "photos" / name).unlink()
        Image.effect_noise((64, 64), 50).convert("RGB").save(folder / "photos" / name)
    (folder / "annotations.xml").write_text(f"<annotations>{''.join(lines)}</annotations>")


def ten_pictures(folder: Path) -> None:
    """As many as splits need, with two points each."""
    for number in range(10):
        Image.effect_noise((100, 90), 60).convert("RGB").save(folder / "photos" / f"{number}.jpg")
    lines = [f"{number}.jpg,{10 + number},{20 + y}" for number in range(10) for y in (0, 30)]
    (folder / "points.csv").write_text("\n".join(["image,x,y", *lines, ""]))


def mosaic_with_fields(folder: Path) -> None:
    """300 x 200 pixels of 10 cm with a margin that is not seen, and two fields in its coordinate system."""
    noise = np.asarray(Image.effect_noise((300, 200), 60).convert("RGB"))
    pixels = noise.transpose(2, 0, 1).clip(min=1)  # 0 is what is not seen
    pixels[:, :, 280:] = 0
    write_map(folder / "mosaic.tif", pixels, photometric="RGB", nodata=0, tiled=True, blockxsize=64, blockysize=64)
    features = [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": {"type": "Polygon", "coordinates": [[[x, 0], [x + 14, 0], [x + 14, -20], [x, -20], [x, 0]]]},
        }
        for name, x in (("west", 0), ("east", 14))
    ]
    for feature in features:
        for corner in feature["geometry"]["coordinates"][0]:
            corner[0], corner[1] = corner[0] + TEN_CENTIMETERS[2], corner[1] + TEN_CENTIMETERS[5]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    collection = {"type": "FeatureCollection", "crs": crs, "features": features}
    (folder / "fields.geojson").write_text(json.dumps(collection))


def fields_add_up() -> bool:
    """The fields have all that is seen of the mosaic, and the maps have as many points as the tables."""
    fields = table("map/regions.csv")
    (mosaic,) = table("map/counts.csv")
    assert [float(field["area_m2"]) for field in fields] == pytest.approx([280, 280])
    assert float(mosaic["area_m2"]) == pytest.approx(560)
    assert len(json.loads(Path("map/points.geojson").read_text())["features"]) == int(mosaic["count"])
    halves = table("halves/regions.csv")
    return len(fields) == len(halves) == 2


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


PREPARED = {
    "which_counter": ten_pictures,
    "a_drone_mosaic_to_a_map": mosaic_with_fields,
    "how_sure_is_it": model_and_ten_pictures,
    "fine_tune_on_my_classes": lambda folder: mit_tiny(folder / "mit_tiny"),
    "from_cvat_to_a_count": lambda folder: export(folder, "annotations.xml", "cvat"),
    "train_on_my_points": points_in_both,
    "from_labels_to_masks": lambda folder: generate_miniature_weak(
        folder / "data" / "own", 6, 3, 0, image_size=(64, 48), disable_progress=True
    ),
}


def num_frames(path: str) -> int:
    with VideoReader(path) as video:
        return sum(1 for _ in video)


# what a page ends with is of use: a model that loads strictly, a video with all frames, tables with all pictures
ENDS = {
    "fine_tune_on_my_classes": lambda: (
        load_video_model("runs/own_cffm"),
        load_video_model("runs/own_mrcfa"),
        num_frames("overlay.mp4") == 5,
    ),
    "train_on_my_points": lambda: (
        load_counter("runs/own"),
        load_counter("runs/of_export"),
        load_counter("runs/own_from_trees"),
        len(Path("results/counts.csv").read_text().splitlines()) == 6,
    ),
    "from_cvat_to_a_count": lambda: (
        load_counter("runs/mine"),
        len(read_annotations(Path("found.xml"))) == 5,
    ),
    "from_labels_to_masks": lambda: (
        load_mcis("runs/classifier"),
        load_segmenter("runs/segmenter"),
        Path("results.json").is_file(),
    ),
    "segment_a_camera_stream": lambda: (
        num_frames("overlay.mp4") == 5,
        num_frames("loud.mp4") == 1,
        Path("shares.csv").is_file(),
    ),
    "several_classes": lambda: (
        load_counter("runs/kinds")[0].config.num_labels == 3,
        "count_star" in Path("kinds/counts.csv").read_text(),
        "mae/star" in Path("kinds.json").read_text(),
    ),
    "how_sure_is_it": lambda: (
        load_counter("runs/mine")[1].count_calibration is not None,
        ",0.9," in Path("results/counts.csv").read_text(),
        Path("next/label_studio.json").is_file(),
    ),
    "which_counter": lambda: (
        load_counter("runs/compare/dmcount/seed_1/model"),
        Path("runs/compare/index.html").is_file(),
        len(Path("results/counts.csv").read_text().splitlines()) == 13,
    ),
    "a_drone_mosaic_to_a_map": lambda: (fields_add_up(),),
    "export_a_model": lambda: (
        torch.export.load("programs/model.pt2").module(),
        ExportedCounter("exported").count(Image.open("photos/a.jpg"))["count"]
        == ExportedCounter("exported").count(np.asarray(Image.open("photos/a.jpg")))["count"],
    ),
    "count_my_photos": lambda: (len(Path("sure/counts.csv").read_text().splitlines()) == 3,),
}


AFTER_COMMANDS = "alone: it uses what the commands above have made"


def is_run(block: Block) -> bool:
    """With the commands, also the programs that use what these have made."""
    if block.language == "python":
        return block.not_run == AFTER_COMMANDS
    is_served = "dense-hf serve" in block.text
    return block.language == "bash" and (not block.not_run or "camera" in block.not_run or is_served)


@pytest.fixture
def clone(tmp_path, monkeypatch, noise) -> Path:
    """A folder that looks like a clone, and the current one."""
    monkeypatch.chdir(make_clone(tmp_path, noise))
    return tmp_path


def test_every_block_has_a_rule():
    for name, block in BLOCKS.items():
        assert block.language in ("bash", "python", "text", "yaml"), (
            f"{name}: no test runs {block.language or 'this'!r}"
        )
    for name, block in COMMANDS.items():
        for words in commands(block.text):
            assert words[0] in RULES, f"{name}: no rule runs {words[0]}"


@pytest.mark.parametrize("name", [name for name, block in COMMANDS.items() if block.not_run])
def test_options_of_commands_exist(name, tmp_path):
    for words in commands(COMMANDS[name].text):
        check_command(words, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("path", HOWTOS, ids=lambda path: path.stem)
def test_commands(path, clone, capsys):
    """Those of a page one after the other, as a reader does it."""
    PREPARED.get(path.stem, lambda folder: None)(clone)
    served = Served()
    for block in filter(is_run, blocks(path.read_text(encoding="utf-8"))):
        if block.language == "python":
            exec(compile(block.text, f"{path.name}:{block.line}", "exec"), {"__name__": "__main__"})
            continue
        for line in commands(block.text):
            words = [REPLACED.get(word, word) for word in line]
            words = words[2:] if words[:2] == ["accelerate", "launch"] else words[words[0] == "python" :]
            if words[:2] == ["dense-hf", "serve"]:
                served.start(words)
            elif words[0] == "curl":
                served.ask(words)
            elif words[0] == "scripts/run_weak_pipeline.py":
                RULES["python"](line, clone)  # it starts programs
            elif words[0] == "dense-hf" or words[0].endswith(".py"):
                program = " ".join(words[: 1 + (words[0] == "dense-hf")])
                assert call(*words, *SHORTER.get(program, "").split()) == 0, f"{line}: {capsys.readouterr()}"
            else:
                RULES[words[0]](words, clone)
    assert all(ENDS.get(path.stem, tuple)())


@pytest.mark.parametrize("path", HOWTOS, ids=lambda path: path.stem)
def test_options_in_the_text_exist(path):
    """What the text names, for one of the programs that the page runs or names."""
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"`(--[\w-]+)", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)))
    programs = {("dense-hf", name) for name in re.findall(rf"dense-hf ({'|'.join(cli.COMMANDS)})\b", text)}
    programs |= {(name,) for name in re.findall(r"\b((?:dataset_)?scripts/\w+\.py)", text)}
    known = {option for program in programs for option in re.findall(r"--[\w-]+", manual_of(*program))}
    assert sorted(named - known) == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name, clone, capsys):
    block = PROGRAMS[name]
    text = block.text
    if "your-name/trees" in text:
        text = text.replace("your-name/trees", REPLACED["your-name/trees"])
        (clone / "hub").mkdir()
        collect_repository(ROOT / "checkpoints" / "iocformer-trees", clone / "hub" / "trees", "your-name/trees")
    code = compile(text, name, "exec")
    if block.not_run not in (None, "a card"):
        return  # its syntax is right
    exec(code, {"__name__": "__main__"})


@pytest.mark.parametrize("path", HOWTOS, ids=lambda path: path.stem)
def test_pages_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)#]+)\)", prose):
        assert "://" in link or (path.parent / link).exists(), link
    for named in re.findall(r"`((?:scripts|src|tests|docs|dataset_scripts)/[\w./-]+)`", prose):
        assert (ROOT / named).exists(), named


def test_every_how_to_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    howtos = {path.stem for path in ROOT.glob("docs/howto/*.md")}
    assert set(re.findall(r"^howto/(\w+)$", index, flags=re.MULTILINE)) == howtos


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("python scripts/evaluate_counting.py --modell x", "there is no --modell"),
        ("dense-hf count a.jpg --treshold 0.3", "there is no --treshold"),
        ("bash scripts/evaluate_counting.py", "no rule checks"),
        ("python scripts/train_cffm.py --config scripts/configs/cffm/none.yaml", "none.yaml"),
    ],
)
def test_a_wrong_command_is_found(command, message, tmp_path):
    with pytest.raises(AssertionError, match=message):
        check_command(command.split(), tmp_path)
