"""The results of `train_demo_counting.py` as tables, and what they say in words; each number comes from the file."""

from collections.abc import Sequence
from math import ceil
from statistics import mean
from textwrap import fill
from typing import Any

COLUMNS = ("count", "mae_count", "density_sum", "mae_density")
HEAD = ["| | count (points) | MAE | density sum | MAE |", "|---|---|---|---|---|"]


def results_table(results: dict[str, Any]) -> str:
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


def reading(results: dict[str, Any]) -> str:
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
