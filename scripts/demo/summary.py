"""The table of README.md: a line for each method and data set, and a baseline, all from files of results.

What a file does not have yet is left out; docs/results.md has the rest of each.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from dense_hf.markdown import spread, table
from dense_hf.reports.comparison import numbers_of

OURS = ("iocformer_by_density",)  # of the data whose other rows are in docs/results.md alone
HEAD = ("data", "method", "measured", "result", "baseline", "its result")
Line = tuple[str, str, str, str, str, str]


def summary(root: Path) -> str:
    """Markdown of all lines.

    Args:
        root: where docs/results/ and checkpoints/ are.
    """
    lines = []
    for file, lines_of in (
        ("checkpoints/iocformer-nuclei/results.json", nuclei_lines),
        ("docs/results/dsb2018_dark.json", partial(comparison_lines, "nuclei")),
        ("docs/results/dsb2018_color.json", partial(comparison_lines, "nuclei in color", only=OURS)),
        ("docs/results/dsb2018_bright.json", partial(comparison_lines, "nuclei, bright images", only=OURS)),
        ("checkpoints/iocformer-trees/results.json", tree_lines),
        ("docs/results/tree_squares.json", partial(comparison_lines, "trees")),
        ("docs/results/video_on_camvid.json", camvid_lines),
        ("checkpoints/cffm-street/results.json", street_lines),
        ("docs/results/camvid_crops.json", weak_lines),
        ("checkpoints/mcis-crops/results.json", crops_lines),
    ):
        if (root / file).is_file():
            lines += lines_of(json.loads((root / file).read_text(encoding="utf-8")))
    return table(HEAD, lines)


def told(values: Sequence[float], form: str, factor: float = 1.0) -> str:
    """The mean of the seeds (lowest to highest); one number alone."""
    values = [factor * value for value in values]
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else spread(fmean(values), min(values), max(values), form)


def nuclei_lines(results: Mapping[str, Any]) -> Iterator[Line]:
    """The bundled counter of nuclei."""
    nuclei = results["nuclei"]
    errors, constant = [row["test"]["mae"] for row in nuclei["seeds"]], told([nuclei["constant"]["mae"]], ".2f")
    method = "**IOCFormer, bundled**" + ", one seed" * (len(errors) == 1)
    yield "nuclei", method, "MAE", told(errors, ".2f"), "best constant", constant


def comparison_lines(data: str, results: Mapping[str, Any], only: Collection[str] = ()) -> Iterator[Line]:
    """Counters that `dense-hf compare` trained (all or some), beside the better one of the rows that learn nothing."""
    numbers = {name: numbers_of(row).get("mae", []) for name, row in results["rows"].items()}
    rows = results["rows"]
    plain = [name for name, row in rows.items() if not row["learns"] and numbers[name]]
    best = min(plain, key=lambda name: fmean(numbers[name]), default=None)
    baseline = ("-", "-") if best is None else (rows[best]["title"].lower(), told(numbers[best], ".2f"))
    for name, row in rows.items():
        if row["learns"] and numbers[name] and (name in only or not only):
            title = row["title"].replace("|", r"\|") + ", one seed" * (len(numbers[name]) == 1)
            yield data, title, "MAE", told(numbers[name], ".2f"), *baseline


def tree_lines(results: Mapping[str, Any]) -> Iterator[Line]:
    """The bundled model."""
    seeds, constant = results["held_out"]["seeds"], results["held_out"]["baselines"]["test_mean"]["mae"]
    errors = told([row["mae_count"] for row in seeds], ".2f")
    yield "trees", "**IOCFormer, bundled**", "MAE a square of 256 px", errors, "best constant", f"{constant:.2f}"


def camvid_lines(results: Mapping[str, Any]) -> Iterator[Line]:
    """The thesis' methods beside the best of what has no memory, the mean of three frames included.

    CFFM in each of the three cases, the others where frames are lost; the rest is in docs/results.md.
    """
    rows = {name: row for name, row in results["rows"].items() if row["learns"]}
    without = {"per_frame", "per_frame_mean3", "static", "static_mean3"}
    without |= {"pspnet", "ocrnet", "upernet", "deeplabv3plus"}
    for title, key, name in (
        ("dense clip", "vc8@video=0016E5_dense", "VC8"),
        ("dense clip, every 4th frame lost", "mean_iou@black:4+video=0016E5_dense", "mIoU"),
        ("another drive, every 4th frame lost", "mean_iou@black:4+video=Seq05VD", "mIoU"),
    ):
        numbers = {row: numbers_of(content).get(key, []) for row, content in rows.items()}
        known = {row: values for row, values in numbers.items() if values}
        beside = max((row for row in known if row in without), key=lambda row: fmean(known[row]), default=None)
        if beside is not None:
            baseline = (rows[beside]["title"], told(known[beside], ".1f", 100))
            shown = ("cffm", "cffm_plus", "mrcfa") if "every 4th" in title and "dense" in title else ("cffm",)
            for row in (row for row in shown if row in known):
                method = rows[row]["title"] + ", one seed" * (len(known[row]) == 1)
                yield f"CamVid, {title}", method, name, told(known[row], ".1f", 100), *baseline


def street_lines(results: Mapping[str, Any]) -> Iterator[Line]:
    """How steady video methods are, beside the best without memory."""
    methods, data = results["methods"], "street, pseudo labels"
    plain = [row for name, row in methods.items() if name.startswith("per_frame")]
    for name in ("cffm", "mrcfa"):
        row, best = methods[name], max(plain, key=lambda one: one["released"]["vc8"]["mean"])
        method = f"**{row['title']}, bundled**" if name == "cffm" else row["title"]
        yield data, method, "VC8", of_seeds(row["released"]["vc8"]), best["title"], of_seeds(best["released"]["vc8"])


def weak_lines(results: Mapping[str, Any]) -> Iterator[Line]:
    """Of what compares images that with the best masks on validation, beside the best classifier of single images.

    Rows with fewer seeds than another are left out.
    """
    rows = {name: row for name, row in results["rows"].items() if row["learns"]}
    most = max(len(row["seeds"]) for row in rows.values())
    numbers = {name: numbers_of(row) for name, row in rows.items() if len(row["seeds"]) == most}
    plain = [name for name in numbers if name.startswith("basic")]
    best = max(numbers.keys() - plain, key=lambda name: fmean(numbers[name]["validation_mean_iou"]))
    beside = max(plain, key=lambda name: fmean(numbers[name]["mean_iou"]))
    ours, theirs = (told(numbers[name]["mean_iou"], ".1f", 100) for name in (best, beside))
    yield "CamVid, crops", rows[best]["title"], "mIoU of masks", ours, rows[beside]["title"], theirs


def crops_lines(results: Mapping[str, Any]) -> Iterator[Line]:
    """The segmenter that learned from multi-round maps, beside the one of a classifier of single images."""
    rows = results["rows"]
    ours, theirs = (of_seeds(rows[name]["segmentation"]["mean_iou"]) for name in ("full", "basic"))
    method = "**MCIS, bundled**, multi-round"
    yield "crops, pseudo masks", method, "mIoU of the segmenter", ours, rows["basic"]["title"], theirs


def of_seeds(numbers: Mapping[str, float]) -> str:
    """Percent, of a mean with its lowest and highest."""
    return spread(*(100 * numbers[key] for key in ("mean", "lowest", "highest")), ".1f")
