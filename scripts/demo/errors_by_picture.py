"""Is one counter better than another, or is it the luck of few pictures? From what `dense-hf compare` has counted.

    python scripts/demo/errors_by_picture.py iocformer_by_density runs/dark/results.json

A picture's error is the mean over seeds of |count - annotated|. MAE stands with the interval in which 95 % of the
means of pictures drawn anew lie (bootstrap of percentiles), and so does the difference of the row that is named, which
comes first, to each other one: an interval that holds 0 does not say which is better. Then come the errors in the
fifth of the pictures with most objects and in the others, and how errors go with those of the first row (Pearson's
correlation over pictures). Several files are parts of one comparison. results_page.py makes a table of --output.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from dense_hf.data import write_file
from dense_hf.markdown import spread, table

ROOT = Path(__file__).parents[2]
PARTS = {"validation": lambda run: run["training"]["validation"], "test": lambda run: run["test"]}
HEAD = ("", "MAE (95 %)", "the first row minus this (95 %)", "MAE, crowded", "MAE, others", "correlation")


def interval(values: np.ndarray) -> list[float]:
    """The mean of [n], and the least and the largest of 95 % of the means of n values drawn anew."""
    found = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return [round(float(number), 4) for number in (values.mean(), found.low, found.high)]


def errors_of(row: dict[str, Any], part: str) -> tuple[np.ndarray, np.ndarray]:
    """What is annotated in each picture, and its error, both [n].

    Raises:
        ValueError: seeds that have counted other pictures.
    """
    counted = [PARTS[part](run)["counts"] for run in row["seeds"].values()]
    pictures = [[name for name, _, _ in one] for one in counted]
    if any(one != pictures[0] for one in pictures):
        raise ValueError(f"Seeds of {row['title']!r} have counted other pictures")
    annotated, counts = np.array([[one[1:] for one in of_seed] for of_seed in counted], float).transpose(2, 0, 1)
    return annotated[0], np.abs(counts - annotated).mean(axis=0)


def compared(rows: dict[str, dict[str, Any]], name: str) -> dict[str, list[dict[str, Any]]]:
    """For each part a line of each row: see the head of this file.

    Raises:
        KeyError: no row has the name.
        ValueError: rows that have counted other pictures.
    """
    lines: dict[str, list[dict[str, Any]]] = {}
    for part in PARTS:
        annotated, reference = errors_of(rows[name], part)
        crowded = annotated >= np.quantile(annotated, 0.8)
        for row in sorted(rows.values(), key=lambda row: row is not rows[name]):
            objects, errors = errors_of(row, part)
            if not np.array_equal(objects, annotated):
                raise ValueError(f"{row['title']!r} and {rows[name]['title']!r} have counted other pictures")
            line = {
                "title": row["title"],
                "pictures": len(errors),
                "mae": interval(errors),
                "crowded": round(float(errors[crowded].mean()), 4),
                "others": round(float(errors[~crowded].mean()), 4),
            }
            if row is not rows[name]:
                line["difference"] = interval(reference - errors)
                line["correlation"] = round(float(np.corrcoef(reference, errors)[0, 1]), 4)
            lines.setdefault(part, []).append(line)
    return lines


def section(results: dict[str, Any]) -> str:
    """The tables of docs/results.md."""
    parts = []
    for part, lines in results["parts"].items():
        cells = [
            (
                line["title"],
                spread(*line["mae"]),
                spread(*line["difference"], form="+.2f") if "difference" in line else "-",
                f"{line['crowded']:.2f}",
                f"{line['others']:.2f}",
                f"{line['correlation']:.2f}" if "correlation" in line else "-",
            )
            for line in lines
        ]
        parts += [f"The {lines[0]['pictures']} {part} pictures:", table(HEAD, cells, "lr")]
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", help="the name of the row that others are compared with")
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="results.json of dense-hf compare")
    default = ROOT / "docs" / "results" / "errors_by_picture.json"
    parser.add_argument("--output", type=Path, default=default, metavar="FILE", help="default: in docs/results")
    options = parser.parse_args(arguments)
    try:
        rows: dict[str, dict[str, Any]] = {}
        for file in options.results:
            rows |= json.loads(file.read_text(encoding="utf-8"))["rows"]
        parts = compared(rows, options.row)
    except (OSError, ValueError, KeyError) as error:
        print(f"errors_by_picture.py: {error}", file=sys.stderr)
        return 1
    write_file(options.output, (json.dumps({"parts": parts}, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
