"""The results of the trainings of this folder as tables, and what they say in words; each number comes from a file."""

from collections.abc import Mapping, Sequence
from math import ceil
from statistics import mean
from textwrap import fill
from typing import Any

COLUMNS = ("count", "mae_count", "density_sum", "mae_density")
HEAD = ["| | count (points) | MAE | density sum | MAE |", "|---|---|---|---|---|"]


def counting_table(results: dict[str, Any]) -> str:
    """Markdown of the numbers in results.json; MAE is the mean error of one square of 256 x 256 pixels.

    Raises:
        KeyError: if a number is missing.
    """
    held_out = results["held_out"]
    annotated, seeds = held_out["annotated"], held_out["seeds"]
    lines = [
        f"`{results['checkpoint']}` on the part of the photos that was held out of training, {annotated} annotated "
        "trees. MAE is the mean error of the count of a square of 256 x 256 pixels.",
        "",
        *HEAD,
    ]
    lines += [_row(f"seed {row['seed']}", row, annotated) for row in seeds]
    if len(seeds) > 1:
        cells = " | ".join(_spread([row[column] for row in seeds], column) for column in COLUMNS)
        lines.append(f"| mean (lowest to highest) | {cells} |")
    lines += ["", "What constants reach on the same squares:", "", "| | total | MAE |", "|---|---|---|"]
    names = {"train_density": "density of the training area", "test_mean": "mean of the test squares (not knowable)"}
    for name, baseline in held_out["baselines"].items():
        lines.append(f"| {names.get(name, name)} | {baseline['total']:.1f} | {baseline['mae']:.2f} |")
    if results["harder"]:
        lines += ["", "Harder pictures, of places that it was not trained on:", "", *HEAD]
        lines += [_row(row["name"], row, row["annotated"]) for row in results["harder"]]
    return "\n".join(lines)


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


def _row(name: str, row: dict[str, Any], annotated: int) -> str:
    return (
        f"| {name} | {row['count']} of {annotated} | {row['mae_count']:.2f} | {row['density_sum']:.1f} | "
        f"{row['mae_density']:.2f} |"
    )


def _spread(values: list[float], column: str) -> str:
    digits = 2 if column.startswith("mae") else 1
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def percent(numbers: Mapping[str, float] | float | None) -> str:
    """ "61.2 (60.1 to 62.4)": mean, lowest and highest of several seeds, in percent; "61.2" of one; a dash of none."""
    if numbers is None or isinstance(numbers, float | int):
        return "-" if numbers is None else f"{100 * numbers:.1f}"
    return f"{100 * numbers['mean']:.1f} ({100 * numbers['lowest']:.1f} to {100 * numbers['highest']:.1f})"


def street_table(results: Mapping[str, Any]) -> str:
    """Markdown: a row per method and one for the map that never changes, then IoU of each class; all in percent."""
    methods, constant = results["methods"], results["most_frequent_label"]
    seeds = len(next(iter(methods.values()))["seeds"])
    lines = [
        f"Frames 600 to 794, against pseudo labels, in percent: mean of {seeds} seeds (lowest to highest). VC in the "
        "released protocol,",
        "then in that of the thesis' text.",
        "",
        "| | parameters | mIoU | VC8 | VC16 | VC8 (text) | VC16 (text) |",
        "|---|---|---|---|---|---|---|",
    ]
    columns = [
        ("released", "mean_iou"),
        ("released", "vc8"),
        ("released", "vc16"),
        ("thesis", "vc8"),
        ("thesis", "vc16"),
    ]
    for method in methods.values():
        cells = [percent(method[protocol][key]) for protocol, key in columns]
        lines.append(f"| {method['title']} | {method['parameters'] / 1e6:.2f} M | {' | '.join(cells)} |")
    cells = [percent(constant[protocol][key]) for protocol, key in columns]
    lines.append(f"| most frequent label of each pixel, no model | - | {' | '.join(cells)} |")
    lines += [
        "",
        "Minus SegFormer, seed by seed:",
        "",
        "| | mIoU | VC8 | VC16 | VC8 (text) | VC16 (text) |",
        "|---|---|---|---|---|---|",
    ]
    for name, method in methods.items():
        if name != "segformer":
            cells = [signed(method[f"{protocol}_minus_segformer"][key]) for protocol, key in columns]
            lines.append(f"| {method['title']} | {' | '.join(cells)} |")
    names = list(constant["per_class_iou"])
    lines += ["", f"| IoU | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for method in methods.values():
        cells = [percent(method["per_class_iou"][name]) for name in names]
        lines.append(f"| {method['title']} | {' | '.join(cells)} |")
    cells = [percent(constant["per_class_iou"][name]) for name in names]
    lines.append(f"| most frequent label | {' | '.join(cells)} |")
    return "\n".join(lines)


def signed(numbers: Mapping[str, float]) -> str:
    """ "+0.42 (-0.10 to +0.80)" in points."""
    return f"{100 * numbers['mean']:+.2f} ({100 * numbers['lowest']:+.2f} to {100 * numbers['highest']:+.2f})"


def crops_table(results: Mapping[str, Any]) -> str:
    """Markdown: a row per classifier and way of localisation, mean IoU and what it has more than the basic one."""
    rows = results["rows"]
    first = next(iter(rows.values()))
    names = list(first["segmentation"]["per_class_iou"])
    lines = [
        "Against PSEUDO masks, in percent: pseudo labels of the training crops, and on the test crops the segmenter",
        f"that learned from them. Mean of {len(first['seeds'])} seeds (lowest to highest).",
        "",
        "| | mIoU of pseudo labels | minus basic | mIoU of segmenter | minus basic |",
        "|---|---|---|---|---|",
    ]
    for row in rows.values():
        cells = [
            text
            for what in ("pseudo_labels", "segmentation")
            for text in (percent(row[what]["mean_iou"]), signed(row[what]["minus_basic"]))
        ]
        lines.append(f"| {row['title']} | {' | '.join(cells)} |")
    constants = results["without_model"]
    for title, scores in constants.items():
        values = [percent(scores[what]["mean_iou"]) for what in ("pseudo_labels", "segmentation")]
        lines.append(f"| {title}, no model | {values[0]} | - | {values[1]} | - |")
    lines += ["", f"| IoU of the segmenter | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row in rows.values():
        cells = [percent(row["segmentation"]["per_class_iou"][name]) for name in names]
        lines.append(f"| {row['title']} | {' | '.join(cells)} |")
    for title, scores in constants.items():
        cells = [percent(scores["segmentation"]["per_class_iou"][name]) for name in names]
        lines.append(f"| {title}, no model | {' | '.join(cells)} |")
    return "\n".join(lines)
