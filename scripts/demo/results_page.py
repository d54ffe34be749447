"""Put what was measured into docs/results.md, whose tables come from the files of docs/results/, and into README.md.

Files are of `dense-hf compare`, but for those that `result_sections.SECTIONS` names.

    python scripts/demo/results_page.py                                              # write the tables again
    python scripts/demo/results_page.py --add runs/dark/results.json dsb2018_dark    # take over new numbers
    python scripts/demo/results_page.py --merge runs/more/results.json dsb2018_dark  # and keep what is there

A table stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->` of the page, where NAME is that of the file. The
table of README.md is what `summary.py` makes of these files and of checkpoints/*/results.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from make_model_cards import replace_section
from result_sections import SECTIONS
from summary import summary

from dense_hf.data import write_file
from dense_hf.reports.comparison import best_on_validation, comparison_table

ROOT = Path(__file__).parents[2]
UNITS = {"counting": "Pictures (objects)", "video": "Videos (frames)", "weak": "Pictures (labels)"}
LEFT_OUT = ("counts", "curve", "attended", "results")  # of single pictures and steps


def slim(value: Any) -> Any:
    """Without what a table does not need, and numbers with six digits."""
    if isinstance(value, dict):
        return {key: slim(one) for key, one in value.items() if key not in LEFT_OUT and "/" not in key}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Two parts of one comparison, with the columns of the old one.

    What both have is that of the new one, but for rows that learn nothing.

    Raises:
        ValueError: they are of other data or another budget.
    """
    for name in ("task", "settings"):
        if old[name] != new[name]:
            raise ValueError(f"Both parts must have the same {name}. Received: {old[name]} and {new[name]}")
    rows = dict(old["rows"])
    for name, row in new["rows"].items():
        if row["learns"] or name not in rows:
            seeds = rows.get(name, row)["seeds"] | row["seeds"]
            rows[name] = row | {"seeds": dict(sorted(seeds.items(), key=lambda seed: (len(seed[0]), seed[0])))}
    return old | {"rows": dict(sorted(rows.items(), key=lambda row: not row[1]["learns"]))}


def section(results: dict[str, Any]) -> str:
    """Data, budget, table and what is best on the validation pictures."""
    settings = results["settings"]
    counts = {split: [n for n in one.values() if isinstance(n, int)] for split, one in settings["splits"].items()}
    splits = ", ".join(f"{split} {items:,} ({parts:,})" for split, (items, parts) in counts.items())
    what = UNITS[results["task"]]
    budget = ", ".join(f"`{key}` {value}" for key, value in settings.items() if isinstance(value, int | float | str))
    runs = sum(len(row["seeds"]) for row in results["rows"].values() if row["learns"])
    parts = [
        f"{what}: {splits}. {budget}. {runs} trainings; a cell is the mean of the seeds (lowest to highest).",
        comparison_table(results),
    ]
    if (best := best_on_validation(results)) is not None:
        parts.append(f"Best on the validation {what.split()[0].lower()}: {best}.")
    return "\n\n".join(parts)


def page(root: Path) -> str:
    """docs/results.md with the tables of all files.

    Raises:
        ValueError: a mark is missing.
    """
    text = (root / "docs" / "results.md").read_text(encoding="utf-8")
    for file in sorted((root / "docs" / "results").glob("*.json")):
        section_of = SECTIONS.get(file.stem, section)
        text = replace_section(text, section_of(json.loads(file.read_text(encoding="utf-8"))), file.stem)
    return text


def front_page(root: Path) -> str:
    """README.md with its table."""
    return replace_section((root / "README.md").read_text(encoding="utf-8"), summary(root), "summary")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--add", nargs=2, metavar=("RESULTS", "NAME"), help="take over a results.json")
    given.add_argument("--merge", nargs=2, metavar=("RESULTS", "NAME"), help="add its rows and seeds to those there")
    parser.add_argument("--root", type=Path, default=ROOT, help="where docs/ is (default: here)")
    options = parser.parse_args(arguments)
    try:
        if (file_and_name := options.add or options.merge) is not None:
            results = slim(json.loads(Path(file_and_name[0]).read_text(encoding="utf-8")))
            target = options.root / "docs" / "results" / f"{file_and_name[1]}.json"
            if options.merge is not None:
                results = merged(json.loads(target.read_text(encoding="utf-8")), results)
            write_file(target, (json.dumps(results, indent=1) + "\n").encode())
        write_file(options.root / "docs" / "results.md", page(options.root).encode())
        write_file(options.root / "README.md", front_page(options.root).encode())
    except (OSError, ValueError, KeyError) as error:
        print(f"results_page.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
