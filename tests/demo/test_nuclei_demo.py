"""`make demo` on a picture of nuclei, its training, and the table of README.md, on made-up pictures and numbers."""

import json

import numpy as np
import pytest
from PIL import Image

from dense_hf.data import write_points


@pytest.fixture
def nuclei(tmp_path, noise):
    """Pictures of 100 x 80 pixels with 3, 5 and 9 points to train on, 4 to validate with and 6 to test with."""
    folder = tmp_path / "nuclei"
    for part in ("images", "annotations"):
        (folder / part).mkdir(parents=True)
    for split, counts in (("train", (3, 5, 9)), ("val", (4,)), ("test", (6,))):
        names = [f"{split}_{count}" for count in counts]
        for name, count in zip(names, counts):
            noise(100, 80, count).save(folder / "images" / f"{name}.png")
            points = np.random.default_rng(count).uniform(5, 75, (count, 2))
            write_points(folder / "annotations" / f"{name}.xml", points, f"{name}.png", (100, 80))
        (folder / f"{split}_id.txt").write_text("".join(f"{name}.png\n" for name in names))
    return folder


def test_the_demo_counts_and_shows_both(script, nuclei, counter_checkpoint, tmp_path, capsys):
    output = tmp_path / "out"
    words = [str(nuclei), "--model", str(counter_checkpoint), "--output", str(output)]
    assert script("demo_nuclei").main(words) == 0
    results = json.loads((output / "results_nuclei.json").read_text())
    assert results["annotated"] == 6
    assert Image.open(output / "nuclei.png").width > 200, "two pictures beside each other"
    assert f"{results['count']:8d}" in capsys.readouterr().out


def test_what_no_model_can_be_worse_than(script, nuclei):
    found = script("train_demo_nuclei").best_constant(nuclei)
    assert found["splits"]["train"] == {"images": 3, "objects": 17}
    assert (found["constant"]["count"], found["constant"]["mae"]) == (5, 1)


def test_a_training_without_the_bundled_seed_is_refused(script, nuclei, tmp_path, capsys):
    words = [str(nuclei), "--output", str(tmp_path / "out"), "--seeds", "2", "3"]
    assert script("train_demo_nuclei").main(words) == 1
    assert "--seeds must have 1" in capsys.readouterr().err


def compared(*rows: tuple[str, bool, list[float]]) -> dict:
    """A results.json of `dense-hf compare`."""
    return {
        "rows": {
            title: {
                "title": title,
                "learns": learns,
                "seeds": {str(seed): {"training": {}, "test": {"mae": mae}} for seed, mae in enumerate(errors, 1)},
            }
            for title, learns, errors in rows
        }
    }


def test_the_table_has_a_line_for_each_method_and_its_best_baseline(script, tmp_path):
    (tmp_path / "docs" / "results").mkdir(parents=True)
    file = tmp_path / "docs" / "results" / "dsb2018_dark.json"
    rows = [("A", True, [2.0, 4.0]), ("B|C", True, [5.0]), ("D", True, []), ("Constant", False, [9.0])]
    file.write_text(json.dumps(compared(*rows, ("Ridge", False, [3.5]))))
    lines = script("summary").summary(tmp_path).splitlines()[2:]
    assert lines == [
        "| nuclei | A | MAE | 3.00 (2.00 to 4.00) | ridge | 3.50 |",
        r"| nuclei | B\|C, one seed | MAE | 5.00 | ridge | 3.50 |",
    ]
    file.write_text(json.dumps(compared(*rows[:1])))
    assert script("summary").summary(tmp_path).splitlines()[2:] == [
        "| nuclei | A | MAE | 3.00 (2.00 to 4.00) | - | - |"
    ]


def camvid_rows(key, **found):
    return {
        name: {
            "title": name,
            "learns": True,
            "seeds": {str(seed): {"test": {key: iou}} for seed, iou in enumerate(ious)},
        }
        for name, ious in found.items()
    }


def test_averaging_three_frames_is_a_baseline_too(script):
    found = {"per_frame": [0.3], "per_frame_mean3": [0.38], "static": [0.3], "static_mean3": [0.36], "cffm": [0.4]}
    rows = camvid_rows("mean_iou@black:4+video=Seq05VD", **found, mrcfa=[0.39])
    assert list(script("summary").camvid_lines({"rows": rows})) == [
        ("CamVid, another drive, every 4th frame lost", "cffm, one seed", "mIoU", "40.0", "per_frame_mean3", "38.0")
    ]


def test_masks_from_labels_stand_beside_the_best_classifier_of_single_images(script):
    def row(*pairs):
        seeds = [{"training": {"validation": {"mean_iou": one}}, "test": {"mean_iou": two}} for one, two in pairs]
        return {"title": f"{pairs}", "learns": True, "seeds": dict(enumerate(seeds))}

    rows = {
        "basic": row((0.2, 0.2), (0.2, 0.2)),
        "basic_scaled": row((0.1, 0.3), (0.1, 0.3)),
        "basic_other": row((0.9, 0.9)),
        "mcis": row((0.3, 0.2), (0.3, 0.3)),
        "mcis_multi": row((0.2, 0.4), (0.2, 0.4)),
        "mcis_gate": row((0.9, 0.9)),
    }
    ((_, method, _, share, baseline, its_share),) = script("summary").weak_lines({"rows": rows})
    assert (method, share) == (rows["mcis"]["title"], "25.0 (20.0 to 30.0)")
    assert (baseline, its_share) == (rows["basic_scaled"]["title"], "30.0")


def test_the_methods_of_the_thesis_where_frames_are_lost(script):
    found = {"per_frame": [0.3, 0.3], "cffm": [0.4, 0.5], "mrcfa": [0.35], "pspnet": [0.2]}
    rows = camvid_rows("mean_iou@black:4+video=0016E5_dense", **found)
    lines = list(script("summary").camvid_lines({"rows": rows}))
    assert [line[1:4] for line in lines] == [
        ("cffm", "mIoU", "45.0 (40.0 to 50.0)"),
        ("mrcfa, one seed", "mIoU", "35.0"),
    ]
