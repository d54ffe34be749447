"""Train and judge rows of Table 2.3, and write it with the thesis' numbers beside the measured ones.

    python scripts/run_table.py --data_dir data/iocfish5k --output runs/table_2.3 --weights weights
    python scripts/run_table.py --rows iocformer dmcount p2pnet --seeds 1 2 3 --data_dir ... --output ... --weights ...

A row is its file of scripts/configs, trained as it says: --rows {rows}.
All of them on one GPU take weeks; each takes hours to days. Stop it whenever you like, the same command goes on. Other
options of scripts/train_counter.py hold for all rows; with these, a minute shows that all of it works:

    python scripts/run_table.py --rows mcnn dmcount --data_dir data/miniature --output runs/try --max_steps 2 \\
        --crop_size 64 --eval_strategy no --distances 6

--weights is a folder with torchvision's vgg16.pth, vgg16_bn.pth, vgg19.pth and resnet50.pth, those that the rows need;
without it, all rows start from random weights, and no number can be compared with the thesis.

OUTPUT gets table.md (the thesis' numbers are those of its tables, read from the first lines of the files), and what
`dense-hf compare` writes, whose code this is: the model of each row and seed, README.md, results.json. The truth is
the number of points for every row, where CSRNet, MCNN and CAN took the sum of a density map that loses some.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dense_hf.data import write_file
from dense_hf.inference.processes import one_line_errors
from dense_hf.markdown import table
from dense_hf.reports.comparison import mean_of_seeds, write_comparison
from dense_hf.training.comparison.counting import CountingTask, Entry, entry_of_file, read_splits
from dense_hf.training.comparison.runner import compare

CONFIGS = Path(__file__).parent / "configs"
# row -> method, file, trunk
_DENSITY = {"csrnet": "vgg16", "can": "vgg16", "can_commissarma": "vgg16"} | dict.fromkeys(
    ("bl", "noisycc", "dmcount", "gl", "kdmg"), "vgg19"
)
_OTHERS = {
    "mcnn": ("mcnn", None),
    "man": ("man", "vgg19"),
    "dssinet": ("dssinet", "vgg16"),
    "mps": ("mspsnet", "vgg16"),
    "lcfcn": ("lcfcn", "vgg16"),
    "p2pnet": ("p2pnet", "vgg16_bn"),
}
ROWS: dict[str, tuple[str, Path, str | None]] = {
    **{
        name: ("density_counter", CONFIGS / "counting" / f"table_2.3_{name}.yaml", trunk)
        for name, trunk in _DENSITY.items()
    },
    **{
        name: (method, CONFIGS / "counting" / f"table_2.3_{name}.yaml", trunk)
        for name, (method, trunk) in _OTHERS.items()
    },
    "cltr": ("iocformer", CONFIGS / "iocformer" / "table_2.5_regression.yaml", "resnet50"),
    "iocformer": ("iocformer", CONFIGS / "iocformer" / "table_2.5_iocformer.yaml", "resnet50"),
}
METRICS = ("mae", "mse", "nae")
_NUMBERS = r"(?:MAE )?(\d+\.\d+), (?:MSE )?(\d+\.\d+), (?:NAE )?(\d+\.\d+)"


def thesis_numbers(file: Path) -> dict[str, list[str]]:
    """Split -> MAE, MSE and NAE of the thesis, from the comment that a file begins with."""
    lines = file.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
    patterns = {"validation": [rf"val\)?:? {_NUMBERS}"], "test": [rf"test {_NUMBERS}", rf"{_NUMBERS} on test"]}
    found = {split: [re.search(pattern, comment) for pattern in of] for split, of in patterns.items()}
    return {split: list(first.groups()) for split, of in found.items() if (first := next(filter(None, of), None))}


def table_2_3(results: Mapping[str, Any], files: Mapping[str, Path]) -> str:
    """The table; `files` has the file of each row by its name in the results."""
    rows = []
    for name, row in results["rows"].items():
        thesis = thesis_numbers(files[name]) if name in files else {}
        for source in ("thesis", "measured"):
            if source == "thesis" and not thesis:
                continue
            cells = []
            for split in ("validation", "test"):
                values = [mean_of_seeds(row, split, metric) for metric in METRICS]
                measured = ["-" if value is None else f"{value:.2f}" for value in values]
                cells += thesis.get(split, ["-"] * len(METRICS)) if source == "thesis" else measured
            rows.append([row["title"], source, *cells])
    head = ["", "", *(f"{split} {metric.upper()}" for split in ("val", "test") for metric in METRICS)]
    return table(head, rows, "llr")


def entries_of(names: Sequence[str], weights: Path | None) -> list[Entry]:
    """What is trained, with the weights of its trunk."""
    entries = []
    for name in names:
        method, file, trunk = ROWS[name]
        entry = entry_of_file(method, file)
        if weights is not None and trunk is not None:
            entry.sections["model"]["backbone_weights"] = str(weights / f"{trunk}.pth")
        entries.append(entry)
    return entries


@one_line_errors
def main() -> None:
    """Train what is not trained yet, judge, write."""
    manual = (__doc__ or "").replace("{rows}", " ".join(ROWS))
    parser = argparse.ArgumentParser(
        description=manual, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW", help="default: all"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], help="default: 1")
    parser.add_argument("--output", type=Path, default=Path("runs/table_2.3"), help="default: runs/table_2.3")
    parser.add_argument("--weights", type=Path, help="folder of torchvision's files")
    options, source = parser.parse_known_args()
    entries = entries_of(options.rows, options.weights)
    examples = read_splits(source)
    settings = {"options": shlex.join(source), "weights": None if options.weights is None else str(options.weights)}
    task = CountingTask(entries, examples, source, None, choose=False, extra_settings=settings)
    results = compare(task, options.output, options.seeds, print)
    write_comparison(results, options.output, shlex.join(sys.argv))
    written = table_2_3(results, {entry.row.name: ROWS[name][1] for name, entry in zip(options.rows, entries)})
    write_file(options.output / "table.md", (written + "\n").encode())
    print(written)
    if results["failures"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
