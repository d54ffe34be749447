"""Rewrite the results of README.md from the numbers that the demo wrote.

    make readme-results                                                # after `make demo` or `make train-demo`
    python scripts/update_readme_results.py demo_output/results.json   # the bundled model
    python scripts/update_readme_results.py runs/trees/results.json    # all seeds of `make train-demo`
    python scripts/update_readme_results.py runs/street/results.json   # all runs of `make train-demo-video`

Only the lines between `<!-- results:begin -->` and `<!-- results:end -->` change; for video those between
`<!-- video-results:begin -->` and `<!-- video-results:end -->`. Every number there comes from the file; rounding
happens here (for video, in street_card.py) and nowhere else.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from street_card import results_table

README = Path(__file__).parents[1] / "README.md"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.json of the demo or of its training")
    parser.add_argument("--readme", type=Path, default=README, help="the file to change (default: README.md)")
    options = parser.parse_args(arguments)
    try:
        results = json.loads(options.results.read_text(encoding="utf-8"))
        is_video = "methods" in results
        section = results_table(results) if is_video else format_results(results)
        mark = "video-results" if is_video else "results"
        text = replace_section(options.readme.read_text(encoding="utf-8"), section, mark)
    except KeyError as error:
        print(f"{options.results}: expected the numbers of the demo. Received: nothing for {error}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"{options.results}: {error}", file=sys.stderr)
        return 1
    options.readme.write_text(text, encoding="utf-8")
    return 0


def replace_section(text: str, section: str, mark: str = "results") -> str:
    """`text` with `section` between `<!-- MARK:begin -->` and `<!-- MARK:end -->`.

    Raises:
        ValueError: if a mark is missing, doubled, or they are in the wrong order.
    """
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the README needs one {begin} and one {end} after it")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{section}\n{end}{rest.split(end)[1]}"


def format_results(results: dict[str, Any]) -> str:
    """Markdown of the numbers in results.json; MAE is the mean error of one square of 256 x 256 pixels.

    Raises:
        KeyError: if a number is missing.
    """
    held_out = results["held_out"]
    annotated, seeds = held_out["annotated"], held_out.get("seeds", [])
    rows = [(f"seed {row['seed']}", row) for row in seeds] or [("bundled model", held_out)]
    lines = [
        f"`{results['checkpoint']}` on the part of the photos that was held out of training, {annotated} annotated "
        "trees. MAE is the mean error of the count of a square of 256 x 256 pixels.",
        "",
        "| | count (points) | MAE | density sum | MAE |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(name, row, annotated) for name, row in rows]
    if len(seeds) > 1:
        columns = ("count", "mae_count", "density_sum", "mae_density")
        cells = " | ".join(_spread([row[column] for row in seeds], column) for column in columns)
        lines.append(f"| mean (lowest to highest) | {cells} |")
    lines += ["", "What constants reach on the same squares:", "", "| | total | MAE |", "|---|---|---|"]
    names = {"train_density": "density of the training area", "test_mean": "mean of the test squares (not knowable)"}
    for name, baseline in held_out["baselines"].items():
        lines.append(f"| {names.get(name, name)} | {baseline['total']:.1f} | {baseline['mae']:.2f} |")
    if results["harder"]:
        lines += [
            "",
            "Harder pictures, of places that it was not trained on:",
            "",
            "| | count (points) | MAE | density sum | MAE |",
            "|---|---|---|---|---|",
            *(_row(row["name"], row, row["annotated"]) for row in results["harder"]),
        ]
    return "\n".join(lines)


def _row(name: str, row: dict[str, Any], annotated: int) -> str:
    return (
        f"| {name} | {row['count']} of {annotated} | {row['mae_count']:.2f} | {row['density_sum']:.1f} | "
        f"{row['mae_density']:.2f} |"
    )


def _spread(values: list[float], column: str) -> str:
    digits = 2 if column.startswith("mae") else 1
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    sys.exit(main())
