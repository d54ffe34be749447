"""What ranges around counts cover: calibrated on annotated pictures, tried on others, as `dense-hf calibrate` does it.

    python scripts/demo/coverage_of_ranges.py "dark nuclei" runs/dark data/dsb2018/dark

counts the pictures of the validation and of the test list once. It calibrates on the first and tries the second, and
it does so with random halves of all of them, a hundred times: of few pictures, one split says little. With --square
128 the squares that fit into a picture count as pictures; with --to OTHER the pictures of DATA calibrate and those of
OTHER, which may be of another kind, are tried. Lines are added to --output, of which results_page.py makes a table.

n objects of a picture.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.counting.count_ranges import (
    describe_count,
    describe_picture,
    find_unlike,
    range_around,
    second_opinion,
    spread_of,
)
from dense_hf.data import write_file
from dense_hf.data.counting_examples import read_examples
from dense_hf.inference.calibration import conformal_quantile, expected_span
from dense_hf.inference.checkpoints import load_counter
from dense_hf.markdown import table

ROOT = Path(__file__).parents[2]
LEVEL = 0.9
HALVINGS = 100


def looked_at(model: Any, processor: Any, folder: str, splits: list[str], square: int | None) -> list[dict[str, Any]]:
    """The pictures of a data set, each with `annotated`, `count`, `spread` and the numbers that describe it."""
    found = []
    examples = [one for of_split in read_examples(folder, splits, False).values() for one in of_split]
    for example in tqdm(examples, desc=Path(folder).name, unit="image", disable=None):
        image = example.open()
        boxes = [(0, 0, *image.size)]
        if square is not None:
            tops, lefts = (range(0, side - square + 1, square) for side in (image.height, image.width))
            boxes = [(left, top, left + square, top + square) for top in tops for left in lefts]
        for box in boxes:
            pixels = processor.to_pixels(image.crop(box))
            result = processor.count_objects(model, pixels)
            described = describe_count(result)
            density_count = second_opinion(result)
            inside = ((example.points >= box[:2]) & (example.points < box[2:])).all(axis=1)
            found.append(
                {
                    "annotated": int(inside.sum()),
                    "count": result["exact_count"],
                    "spread": spread_of(result["exact_count"], density_count),
                    "numbers": described | describe_picture(pixels),
                }
            )
    return found


def covered(calibration: list[dict[str, Any]], tried: list[dict[str, Any]], level: float = LEVEL) -> dict[str, float]:
    """Which share of the pictures has its number within the range, and how wide ranges are.

    Args:
        calibration: see `looked_at`.
        tried: other pictures.
        level: of the ranges.
    """
    scores = [np.array([abs(one["annotated"] - one["count"]) / one["spread"]]) for one in calibration]
    width = conformal_quantile(scores, level)
    names = calibration[0]["numbers"]
    seen = {name: expected_span([one["numbers"][name] for one in calibration], name) for name in names}
    ranges = [range_around(one["count"], one["spread"], width) for one in tried]
    inside = [low <= one["annotated"] <= high for (low, high), one in zip(ranges, tried)]
    return {
        "coverage": float(np.mean(inside)),
        "width": float(np.mean([high - low for low, high in ranges])),
        "unlike": float(np.mean([bool(find_unlike(one["numbers"], {"seen": seen})) for one in tried])),
        "mae": float(np.mean([abs(one["annotated"] - one["count"]) for one in tried])),
        "mean_count": float(np.mean([one["annotated"] for one in tried])),
    }


def in_halves(pictures: list[dict[str, Any]]) -> dict[str, float]:
    """The means of `covered` of random halves, and the least and the largest coverage."""
    found = []
    for seed in range(HALVINGS):
        order = np.random.default_rng(seed).permutation(len(pictures))
        first, second = ([pictures[index] for index in part] for part in np.array_split(order, 2))
        found.append(covered(first, second))
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    coverages = [one["coverage"] for one in found]
    return means | {"coverage_low": min(coverages), "coverage_high": max(coverages)}


def section(results: dict[str, Any]) -> str:
    """The table of docs/results.md."""
    lines = []
    for row in results["rows"]:
        spread = f" ({row['coverage_low']:.0%} to {row['coverage_high']:.0%})" if "coverage_low" in row else ""
        numbers = f"{row['coverage']:.1%}{spread}", f"{row['width']:.1f}", f"{row['unlike']:.1%}"
        error = f"{row['mae']:.2f} of {row['mean_count']:.1f}"
        lines.append((row["name"], row["how"], str(row["calibration"]), str(row["tried"]), *numbers, error))
    head = (
        "",
        "calibrated and tried on",
        "n",
        "tried",
        f"covered at {results['level']:.0%}",
        "width",
        "unlike",
        "MAE",
    )
    return table(head, lines)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="what the lines are called")
    parser.add_argument("model", help="a trained counter")
    parser.add_argument("data", help="annotated pictures that it has not learned from")
    parser.add_argument("--splits", nargs="+", default=["validation", "test"], metavar="SPLIT")
    parser.add_argument("--to", metavar="DATA", help="pictures to try; their test list")
    parser.add_argument("--square", type=int, metavar="PIXELS", help="cut pictures into squares")
    default = ROOT / "docs" / "results" / "coverage_of_ranges.json"
    parser.add_argument("--output", type=Path, default=default, metavar="FILE", help="default: in docs/results")
    options = parser.parse_args(arguments)
    try:
        model, processor = load_counter(options.model)
        parts = [looked_at(model, processor, options.data, [split], options.square) for split in options.splits]
        together = [one for part in parts for one in part]
        found = []
        if options.to is not None:
            tried = looked_at(model, processor, options.to, ["test"], options.square)
            found.append((f"all of them, then {Path(options.to).name}", together, tried, covered(together, tried)))
        elif len(parts) == 2:
            found.append((" -> ".join(options.splits), *parts, covered(*parts)))
        if options.to is None:
            middle = len(together) // 2
            how = f"halves, the mean of {HALVINGS}"
            found.append((how, together[middle:], together[:middle], in_halves(together)))
    except (InvalidDataError, ValueError) as error:
        print(f"coverage_of_ranges.py: {error}", file=sys.stderr)
        return 1
    rows = json.loads(options.output.read_text(encoding="utf-8"))["rows"] if options.output.exists() else []
    for how, first, second, numbers in found:
        rows = [row for row in rows if (row["name"], row["how"]) != (options.name, how)]
        rounded = {name: float(f"{value:.4g}") for name, value in numbers.items()}
        rows.append({"name": options.name, "how": how, "calibration": len(first), "tried": len(second)} | rounded)
    write_file(options.output, (json.dumps({"level": LEVEL, "rows": rows}, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
