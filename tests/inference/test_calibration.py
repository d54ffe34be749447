"""Ranges around counts: what they promise, of few pictures and of many, and the whole way from `dense-hf calibrate`.

The promise is about the share of new pictures whose number is within their range. Scores are drawn here; those of
models are in docs/howto/how_sure_is_it.md.
"""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dense_hf import CounterImageProcessor, IOCFormerImageProcessor
from dense_hf.cli import main
from dense_hf.counting.count_ranges import (
    describe_count,
    describe_picture,
    find_unlike,
    range_around,
    second_opinion,
    spread_of,
)
from dense_hf.counting.tiling import PartLayout, TileLayout
from dense_hf.errors import InvalidDataError
from dense_hf.inference.calibration import conformal_quantile, expected_span, pictures_needed, tile_of
from dense_hf.inference.checkpoints import load_counter
from dense_hf.pipelines import ObjectCountingPipeline


@pytest.mark.parametrize(("level", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_a_level_needs_so_many_pictures(level, needed):
    assert pictures_needed(level) == needed
    scores = [np.array([float(i)]) for i in range(needed)]
    assert conformal_quantile(scores, level) == needed - 1  # the largest: with one picture less there is none
    with pytest.raises(ValueError, match=f"at least {needed} calibration pictures. Received: {needed - 1}"):
        conformal_quantile(scores[1:], level)


@pytest.mark.parametrize("level", [0, 1, -0.1, math.nan])
def test_levels_that_cannot_be(level):
    with pytest.raises(ValueError, match="above 0 and below 1"):
        pictures_needed(level)


@pytest.mark.parametrize("number", [9, 10, 11, 37, 100])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_the_quantile_is_the_textbook_order_statistic(number, level):
    scores = np.random.default_rng(number).exponential(size=number)
    rank = math.ceil((number + 1) * round(level * 100) / 100 - 1e-9)
    assert conformal_quantile(list(scores[:, None]), level) == np.sort(scores)[rank - 1]


def scenes(random, number):
    """Annotated numbers, and counts that miss a tenth of the objects and find things that are none, unevenly so."""
    annotated = random.integers(5, 300, number)
    seen = random.beta(30, 3, number)
    count = random.binomial(annotated, seen) + random.poisson(0.08 * annotated + 1)
    return annotated, count, count + random.normal(0, 3, number)


@pytest.mark.parametrize("seed", range(3))
def test_ranges_hold_what_they_promise(seed):
    random = np.random.default_rng(seed)
    annotated, count, density = scenes(random, 2000)
    spreads = np.array([spread_of(*both) for both in zip(count.astype(float), density)])
    width = conformal_quantile(list((np.abs(annotated - count) / spreads)[:, None]), 0.9)
    annotated, count, density = scenes(random, 4000)
    ranges = [range_around(float(n), spread_of(float(n), d), width) for n, d in zip(count, density)]
    inside = [low <= n <= high for n, (low, high) in zip(annotated, ranges)]
    assert 0.87 <= np.mean(inside) <= 0.93
    sparse = annotated < 60  # nor does the level hide that all misses are on one side
    assert 0.8 <= np.mean(np.array(inside)[sparse]) <= 0.99


def test_ranges_of_few_pictures_hold_on_average():
    """Of ten calibration pictures each: at least the level, and at most 1 / (n + 1) more."""
    random = np.random.default_rng(0)
    scores = random.gamma(2, size=(4000, 11))
    covered = [score[-1] <= conformal_quantile(list(score[:-1, None]), 0.8) for score in scores]
    assert 0.8 - 0.02 <= np.mean(covered) <= 0.8 + 1 / 11 + 0.02


def test_ranges_of_tiles_hold_though_tiles_of_a_picture_are_alike():
    """Taking tiles for independent would give 20 pictures with 1 or 30 tiles a much smaller level than promised."""
    random = np.random.default_rng(0)

    def picture():
        hard = random.random() < 0.25
        return random.exponential(5.0 if hard else 1.0, 1 if hard else 30)

    weighted, pooled = [], []
    for _ in range(1500):
        calibration, new = [picture() for _ in range(20)], picture()[0]
        weighted.append(new <= conformal_quantile(calibration, 0.9))
        pooled.append(new <= np.quantile(np.concatenate(calibration), 0.9))
    assert np.mean(weighted) >= 0.88
    assert np.mean(pooled) < 0.86


def test_a_range_is_of_whole_numbers_around_the_count():
    assert range_around(10.0, spread_of(10.0, 10.0), 0.0) == (10, 10)
    assert range_around(2.4, 1.0, 0.3) == (2, 2)  # no whole number is within 2.1 to 2.7
    assert range_around(2.4, 1.0, 0.7) == (2, 3)
    assert range_around(1.0, 1.0, 5.0) == (0, 6)
    assert range_around(-0.3, spread_of(-0.3), 0.1) == (0, 0)


def test_where_two_opinions_differ_the_range_is_wider():
    assert spread_of(50.0, 50.0) == spread_of(50.0) == math.sqrt(51)
    assert spread_of(50.0, 90.0) > 5 * spread_of(50.0, 50.0)


@pytest.mark.parametrize("number", [9, 30, 200])
def test_pictures_of_the_same_kind_are_rarely_called_unlike(number):
    """Six numbers each, of distributions that are and are not normal."""
    random = np.random.default_rng(number)
    names = ("brightness", "count", "disagreement", "contrast", "saturation", "sharpness")

    def draw(size):
        return np.stack(
            [
                random.uniform(40, 200, size),
                random.gamma(1.5, 40, size).round(),
                np.abs(random.normal(0, 1, size)),
                random.lognormal(3, 0.4, size),
                random.beta(2, 5, size) * 100,
                random.gamma(4, 2, size),
            ],
            axis=-1,
        )

    alarms = []
    for _ in range(30):
        calibration = draw(number)
        seen = {name: expected_span(calibration[:, i], name) for i, name in enumerate(names)}
        for values in draw(50):
            alarms.append(bool(find_unlike(dict(zip(names, values)), {"seen": seen})))
    assert np.mean(alarms) <= 0.03


def test_dark_blurred_and_gray_pictures_are_told_by_name(noise):
    pictures = [noise(90 + i, 80, seed=i) for i in range(9)]
    pixels = [IOCFormerImageProcessor().to_pixels(picture) for picture in pictures]
    numbers = [describe_picture(one) for one in pixels]
    seen = {name: expected_span([one[name] for one in numbers], name) for name in numbers[0]}
    assert not any(find_unlike(one, {"seen": seen}) for one in numbers)
    flat = torch.full((3, 80, 90), 3, dtype=torch.uint8)
    found = find_unlike(describe_picture(flat), {"seen": seen})
    assert [text.split()[0] for text in found] == ["brightness", "contrast", "saturation", "sharpness"]
    assert describe_picture(pixels[0]) == pytest.approx(describe_picture(pixels[0].float() / 255), rel=1e-4)


@pytest.mark.parametrize(("height", "width", "overlap"), [(100, 150, 0), (100, 150, 8), (32, 32, 0), (5, 90, 20)])
def test_tiles_own_annotated_points_as_they_own_found_ones(height, width, overlap):
    layout = TileLayout(height, width, 32, overlap)
    points = np.random.default_rng(0).random((200, 2)) * (width, height)
    owners = tile_of(layout, points)
    for (x, y), owner in zip(points, owners):
        row, column = layout[owner]
        assert row.core_start <= y < row.core_stop
        assert column.core_start <= x < column.core_stop
    assert len(tile_of(layout, np.zeros((0, 2)))) == 0


def test_parts_own_annotated_points():
    layout = PartLayout(100, 60, min_short_side=120, parts_per_side=2)
    assert tile_of(layout, np.array([[0, 0], [31, 2], [29, 51], [59.9, 99.9]])).tolist() == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def survey(tmp_path_factory, noise):
    """Twelve pictures with points, in a table, and one that is darker than they."""
    folder = tmp_path_factory.mktemp("survey")
    random = np.random.default_rng(0)
    lines = ["image,x,y"]
    (folder / "photos").mkdir()
    for index in range(12):
        width, height = 60 + 3 * index, 64
        noise(width, height, seed=index).save(folder / f"photos/{index}.png")
        points = random.random((5 + index, 2)) * (width - 1, height - 1)
        lines += [f"{index}.png,{x:.2f},{y:.2f}" for x, y in points]
    (folder / "points.csv").write_text("\n".join(lines) + "\n")
    Image.new("RGB", (64, 64), (2, 2, 2)).save(folder / "night.png")
    return folder


@pytest.fixture(scope="module")
def calibrated(counter_checkpoint, survey):
    """A copy of a checkpoint, calibrated."""
    model = survey / "model"
    shutil.copytree(counter_checkpoint, model)
    assert main(["calibrate", str(model), str(survey / "points.csv"), "--images", str(survey / "photos")]) == 0
    return str(model)


def test_calibrate_adds_to_the_processor_and_leaves_the_rest(calibrated, counter_checkpoint):
    before, after = (
        json.loads(Path(one, "preprocessor_config.json").read_text()) for one in (counter_checkpoint, calibrated)
    )
    calibration = after.pop("count_calibration")
    before.pop("count_calibration", None)
    assert after == before
    assert [row["level"] for row in calibration["levels"]] == [0.9, 0.8]  # 0.95 needs 19 pictures
    assert calibration["num_images"] == 12
    assert calibration["settings"]["threshold"] == IOCFormerImageProcessor.from_pretrained(calibrated).threshold


def test_the_widths_are_those_of_the_annotated_pictures(calibrated, survey):
    """Ten of the twelve pictures are within their range of level 0.8: rank ceil(13 * 0.8) = 11, with one on it."""
    model, processor = load_counter(calibrated)
    with open(survey / "points.csv", newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    inside = []
    for index in range(12):
        result = processor.count_objects(model, str(survey / f"photos/{index}.png"), level=0.8)
        low, high = result["range"]
        inside.append(low <= names.count(f"{index}.png") <= high)
        assert low <= result["count"] <= high
        assert result["level"] == 0.8
        assert result["unlike"] == []
        tiles = result["tile_ranges"]
        assert (tiles[:, 0] <= result["tile_counts"]).all()
        assert (tiles[:, 1] >= result["tile_counts"]).all()
    assert sum(inside) == 11


def test_pipeline_reports_range_and_level(calibrated, counter_checkpoint, survey):
    model, processor = load_counter(calibrated)
    counter = ObjectCountingPipeline(model=model, image_processor=processor)
    photo = str(survey / "photos/3.png")
    by_default, wider = counter(photo), counter(photo, level=0.9)
    assert by_default == wider
    assert wider["level"] == 0.9
    narrow = counter(photo, level=0.8)
    assert wider["range"][0] <= narrow["range"][0] <= narrow["count"] <= narrow["range"][1] <= wider["range"][1]
    assert any("brightness" in text for text in counter(str(survey / "night.png"))["unlike"])
    with pytest.raises(ValueError, match=r"one of those calibrated \(0.9, 0.8\). Received: 0.7"):
        counter(photo, level=0.7)
    with pytest.raises(ValueError, match=r"settings that were calibrated\. Received: threshold 0.9 for"):
        counter(photo, level=0.9, threshold=0.9)
    assert "range" not in counter(photo, threshold=0.9)
    processor.count_by = "density"
    with pytest.raises(ValueError, match=r"Received: count_by density for threshold"):
        counter(photo, level=0.9)
    calibration = processor.count_calibration
    processor.count_calibration = calibration | {"settings": calibration["settings"] | {"count_by": "density"}}
    assert counter(photo, level=0.9)["level"] == 0.9
    by_density, sure = (processor.count_objects(model, photo, threshold=one) for one in (None, processor.threshold))
    assert second_opinion(by_density) is None, "points and density are one opinion"
    assert second_opinion(sure) == by_density["density_count"]
    assert set(describe_count(sure)) - set(describe_count(by_density)) == {"disagreement"}
    with pytest.raises(ValueError, match=r"count_by threshold for density"):
        counter(photo, level=0.9, threshold=processor.threshold)
    plain_model, plain = load_counter(counter_checkpoint)
    with pytest.raises(ValueError, match="dense-hf calibrate"):
        ObjectCountingPipeline(model=plain_model, image_processor=plain)(photo, level=0.9)


def test_the_range_survives_saving(calibrated, tmp_path, survey):
    model, processor = load_counter(calibrated)
    ObjectCountingPipeline(model=model, image_processor=processor).save_pretrained(tmp_path / "saved")
    again, kept = load_counter(str(tmp_path / "saved"))
    assert kept.count_calibration == processor.count_calibration
    assert kept.count_objects(again, str(survey / "photos/0.png"))["level"] == 0.9


def test_count_writes_ranges(calibrated, counter_checkpoint, survey, tmp_path, capsys):
    sources = [str(survey / "photos/0.png"), str(survey / "night.png")]
    arguments = ["count", *sources, "--no-overlays", "--level", "0.8"]
    assert main([*arguments, "--model", calibrated, "--output", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out/counts.csv", newline="") as file:
        first, night = csv.DictReader(file)
    assert int(first["range_low"]) <= int(first["count"]) <= int(first["range_high"])
    assert float(first["level"]) == 0.8
    assert first["unlike"] == ""
    assert "brightness 2" in night["unlike"]
    said = capsys.readouterr().out
    assert f"({first['range_low']} to {first['range_high']} with 80%" in said
    assert main([*arguments, "--model", counter_checkpoint, "--output", str(tmp_path / "out2")]) == 2
    assert "dense-hf calibrate" in capsys.readouterr().err


def test_an_earlier_calibration_is_not_replaced_by_accident(calibrated, survey, capsys):
    arguments = ["calibrate", calibrated, str(survey / "points.csv"), "--images", str(survey / "photos")]
    before = Path(calibrated, "preprocessor_config.json").read_text()
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--level", "0.99", "--overwrite"]) == 2
    assert "at least 99 calibration pictures. Received: 12" in capsys.readouterr().err
    assert Path(calibrated, "preprocessor_config.json").read_text() == before


def test_what_cannot_be_calibrated(counter_checkpoint, survey, tmp_path, capsys):
    data = [str(survey / "points.csv"), "--images", str(survey / "photos")]
    counter_checkpoint = str(shutil.copytree(counter_checkpoint, tmp_path / "counter"))  # others use it, too
    assert main(["calibrate", str(tmp_path / "nowhere"), *data]) == 2
    assert main(["calibrate", str(tmp_path), *data]) == 2
    assert "preprocessor_config.json" in capsys.readouterr().err
    assert main(["calibrate", counter_checkpoint, *data, "--validation", "0.5"]) == 2
    assert "--split says which" in capsys.readouterr().err
    half = ["--validation", "0.5", "--split", "validation", "--level", "0.9"]
    assert main(["calibrate", counter_checkpoint, *data, *half]) == 2
    assert "at least 9 calibration pictures. Received: 6" in capsys.readouterr().err


@pytest.mark.parametrize(
    "calibration",
    [
        {"levels": []},
        {"levels": [{"level": 0.9, "image": math.inf, "tile": 1}], "seen": {}, "num_images": 9, "settings": {}},
        {"levels": [{"level": 1.5, "image": 1, "tile": 1}], "seen": {}, "num_images": 9, "settings": {}},
        {"levels": [{"level": 0.9, "image": 1}], "seen": {}, "num_images": 9, "settings": {}},
        {"levels": [{"level": 0.9, "image": 1, "tile": 1}], "seen": {"count": 3}, "num_images": 9, "settings": {}},
        "yes",
    ],
)
def test_calibrations_that_nobody_made(calibration, counter_checkpoint, tmp_path):
    for processor_class in (IOCFormerImageProcessor, CounterImageProcessor):
        with pytest.raises((ValueError, TypeError), match=r"calibration|levels|image must be"):
            processor_class(count_calibration=calibration)
    folder = tmp_path / "model"
    shutil.copytree(counter_checkpoint, folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"count_calibration": calibration}))
    with pytest.raises(InvalidDataError):
        load_counter(str(folder))
