"""Says which share of the lines and branches of src the last measured run of the tests has seen: `make test`.

    python covered_lines.py [LEAST]

LEAST is the least share of lines in percent; with less the exit status is 1. The files that have most lines unseen are
named; `make coverage` lists every line.
"""

import json
import sys
import tempfile
from pathlib import Path

from coverage import Coverage


def main() -> int:
    """Print the shares."""
    least = float(sys.argv[1]) if sys.argv[1:] else 0.0
    measured = Coverage()
    measured.load()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "coverage.json")
        measured.json_report(outfile=str(report))
        result = json.loads(report.read_text(encoding="utf-8"))
    totals = result["totals"]
    lines, branches = totals["percent_statements_covered"], totals["percent_branches_covered"]
    counts = totals["num_statements"], totals["num_branches"]
    print(f"src: {lines:.1f} % of {counts[0]} lines, {branches:.1f} % of {counts[1]} branches")
    unseen = {file: len(found["missing_lines"]) for file, found in result["files"].items()}
    most = sorted(unseen, key=unseen.__getitem__, reverse=True)[:10]
    print("most lines unseen: " + ", ".join(f"{Path(file).name} {unseen[file]}" for file in most))
    if lines < least:
        print(f"expected at least {least:g} % of the lines", file=sys.stderr)
    return int(lines < least)


if __name__ == "__main__":
    sys.exit(main())
