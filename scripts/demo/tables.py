"""The results of the trainings of this folder as tables, and what they say in words; each number comes from a file."""

from collections.abc import Mapping, Sequence
from math import ceil
from statistics import mean
from textwrap import fill
from typing import Any

from dense_hf.markdown import percent, spread, table

COLUMNS = {"count": ".1f", "mae_count": ".2f", "f1@12": ".3f", "density_sum": ".1f", "mae_density": ".2f"}
HEAD = ("", "count (points)", "MAE", "F1 at 12 px", "density sum", "MAE")
CONSTANTS = {"train_density": "density of the training area", "test_mean": "mean of the test squares (not knowable)"}


def counting_table(results: dict[str, Any]) -> str:
    """Markdown of the numbers in results.json; MAE is the mean error of one square of 256 x 256 pixels.

    Raises:
        KeyError: if a number is missing.
    """
    held_out = results["held_out"]
    annotated, seeds = held_out["annotated"], held_out["seeds"]
    rows = [_counts(f"seed {row['seed']}", row, annotated) for row in seeds]
    if len(seeds) > 1:
        rows.append(_mean("mean (lowest to highest)", seeds))
    constants = [
        (CONSTANTS.get(name, name), f"{row['total']:.1f}", f"{row['mae']:.2f}")
        for name, row in held_out["baselines"].items()
    ]
    parts = [
        f"`{results['checkpoint']}` on the part of the photos that was held out of training, {annotated} annotated "
        "trees. MAE is the mean error of the count of a square of 256 x 256 pixels.",
        table(HEAD, rows),
        "What constants reach on the same squares:",
        table(("", "total", "MAE"), constants),
    ]
    if results["harder"]:
        harder = []
        for row in results["harder"]:
            harder.append(_counts(row["name"], row, row["annotated"]))
            if len(row.get("seeds", ())) > 1:
                harder.append(_mean(f"{row['name']}, mean of the seeds", row["seeds"]))
        parts += ["Harder pictures, of places that it was not trained on:", table(HEAD, harder)]
    return "\n\n".join(parts)


def counting_reading(results: dict[str, Any]) -> str:
    """What the numbers of the seeds say, good or bad: which branch is better, and whether a constant would do."""
    held_out = results["held_out"]
    annotated, seeds = held_out["annotated"], held_out["seeds"]
    by_points, by_density = (mean(row[key] for row in seeds) for key in ("mae_count", "mae_density"))
    comparison = "errs less than" if by_density < by_points else "does not err less than"
    farthest = ceil(max(abs(_percent_off(row["density_sum"], annotated)) for row in seeds))
    off = [_percent_off(row["count"], annotated) for row in seeds]
    constant = held_out["baselines"]["test_mean"]["mae"]
    below = [f"seed {row['seed']}" for row in seeds if row["mae_density"] < constant]
    above = [f"seed {row['seed']}" for row in seeds if row["mae_density"] >= constant]
    (below if by_density < constant else above).append("the mean")
    not_below = f"; it is not for {_listed(above)}" if above else ""
    text = (
        f"On single squares the density branch {comparison} the points (mean of the seeds), and for every seed its "
        f"sum is within {farthest} % of the annotated total. Its error on squares is below that of the best constant "
        f"for {_listed(below)}{not_below}. The count of points is off by {_range(off)}."
    )
    return fill(text, width=119)


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "none"


def _percent_off(total: float, annotated: int) -> float:
    return 100 * (total - annotated) / annotated


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:+.0f} %" if f"{low:+.0f}" == f"{high:+.0f}" else f"{low:+.0f} to {high:+.0f} %"


def _counts(name: str, row: dict[str, Any], annotated: int) -> list[str]:
    numbers = (f"{row[column]:{form}}" for column, form in COLUMNS.items() if column != "count")
    return [name, f"{row['count']} of {annotated}", *numbers]


def _mean(name: str, rows: Sequence[Mapping[str, float]]) -> list[str]:
    return [name, *(_spread([row[column] for row in rows], column) for column in COLUMNS)]


def _spread(values: list[float], column: str) -> str:
    return spread(mean(values), min(values), max(values), COLUMNS[column])


def _percent(numbers: Mapping[str, float] | float | None) -> str:
    """Mean, lowest and highest of several seeds, in percent; one number as it is, a dash for none."""
    return _points(numbers, ".1f") if isinstance(numbers, Mapping) else percent(numbers)


def _points(numbers: Mapping[str, float], form: str = "+.2f") -> str:
    """ "+0.42 (-0.10 to +0.80)": a difference in points."""
    return spread(*(100 * numbers[key] for key in ("mean", "lowest", "highest")), form)


def nuclei_table(results: dict[str, Any]) -> str:
    """Markdown: a row per seed and one of all, and what a constant reaches on the same images.

    Raises:
        KeyError: if a number is missing.
    """
    nuclei = results["nuclei"]
    seeds, constant, splits = nuclei["seeds"], nuclei["constant"], nuclei["splits"]
    columns = [
        (lambda row: row["validation"]["mae"], ".2f"),
        (lambda row: row["test"]["mae"], ".2f"),
        (lambda row: row["test"]["mse"], ".2f"),
        (lambda row: 100 * row["test"]["f1@6"], ".1f"),
        (lambda row: 100 * row["test"]["f1@12"], ".1f"),
    ]
    head = ["", "threshold", "MAE on validation", "MAE", "RMSE", "F1 at 6 px", "F1 at 12 px"]
    elsewhere = "elsewhere" in seeds[0]
    if elsewhere:
        columns.append((lambda row: row["elsewhere"]["count"], ".0f"))
        head.append(f"picture of stardist, {seeds[0]['elsewhere']['annotated']} nuclei")
    rows = [
        [f"seed {row['seed']}", f"{row['threshold']:.3g}", *(f"{value(row):{form}}" for value, form in columns)]
        for row in seeds
    ]
    if len(seeds) > 1:
        found = [([value(row) for row in seeds], form) for value, form in columns]
        cells = [spread(mean(values), min(values), max(values), form) for values, form in found]
        rows.append(["mean (lowest to highest)", "-", *cells])
    told = [f"{constant['mae']:.2f}", f"{constant['mse']:.2f}", "-", "-", *["-"] * elsewhere]
    rows.append([f"constant ({constant['count']:.0f}, best on the training images)", "-", "-", *told])
    sizes = ", ".join(f"{split} {one['images']} ({one['objects']:,})" for split, one in splits.items())
    return f"Images (nuclei): {sizes}. F1 in percent.\n\n{table(head, rows, 'lr')}"


def street_table(results: Mapping[str, Any]) -> str:
    """Markdown: a row per method and one for the map that never changes, then IoU of each class; all in percent."""
    methods, constant = results["methods"], results["most_frequent_label"]
    seeds = len(next(iter(methods.values()))["seeds"])
    titles = {
        ("released", "mean_iou"): "mIoU",
        ("released", "vc8"): "VC8",
        ("released", "vc16"): "VC16",
        ("thesis", "vc8"): "VC8 (text)",
        ("thesis", "vc16"): "VC16 (text)",
        ("lost", "mean_iou"): "mIoU, frames lost",
        ("lost", "vc8"): "VC8, frames lost",
    }
    rows = [
        [
            method["title"],
            f"{method['parameters'] / 1e6:.2f} M",
            *(_percent(method[protocol][key]) for protocol, key in titles),
        ]
        for method in methods.values()
    ]
    cells = (_percent(constant[protocol][key]) for protocol, key in titles)
    rows.append(["most frequent label of each pixel, no model", "-", *cells])
    gains = [
        [method["title"], *(_points(method[f"{protocol}_minus_per_frame"][key]) for protocol, key in titles)]
        for name, method in methods.items()
        if name != "per_frame"
    ]
    shares = {method["title"]: method["per_class_iou"] for method in methods.values()}
    parts = [
        f"Frames 600 to 794, against pseudo labels, in percent: mean of {seeds} seeds (lowest to highest). VC in the "
        "released protocol,\nthen in that of the thesis' text; last with every fourth frame black.",
        table(("", "parameters", *titles.values()), rows),
        "Minus the model that sees each frame alone, seed by seed:",
        table(("", *titles.values()), gains),
        _class_table("IoU", shares | {"most frequent label": constant["per_class_iou"]}),
    ]
    return "\n\n".join(parts)


def _class_table(title: str, shares: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each method, a column for each class."""
    names = list(next(iter(shares.values())))
    return table(
        (title, *names), ([row, *(_percent(values[name]) for name in names)] for row, values in shares.items())
    )


def crops_table(results: Mapping[str, Any]) -> str:
    """Markdown: a row per classifier and way of localisation, mean IoU and what it has more than the basic one."""
    judged = list(results["rows"].values())
    constants = {f"{title}, no model": scores for title, scores in results["without_model"].items()}
    rows = []
    for row in judged:
        parts = (row["pseudo_labels"], row["segmentation"])
        cells = [(_percent(part["mean_iou"]), _points(part["minus_basic"])) for part in parts]
        rows.append([row["title"], *cells[0], *cells[1]])
    for title, scores in constants.items():
        parts = (scores["pseudo_labels"], scores["segmentation"])
        pseudo, segmenter = (_percent(part["mean_iou"]) for part in parts)
        rows.append([title, pseudo, "-", segmenter, "-"])
    by_title = {row["title"]: row for row in judged} | constants
    shares = {title: scores["segmentation"]["per_class_iou"] for title, scores in by_title.items()}
    parts = [
        "Against PSEUDO masks, in percent: pseudo labels of the training crops, and on the test crops the segmenter\n"
        f"that learned from them. Mean of {len(judged[0]['seeds'])} seeds (lowest to highest).",
        table(("", "mIoU of pseudo labels", "minus basic", "mIoU of segmenter", "minus basic"), rows),
        _class_table("IoU of the segmenter", shares),
    ]
    return "\n\n".join(parts)
