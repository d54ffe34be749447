"""What starting costs: CPU seconds of fresh processes, in turn (A B C ... A B C ...), median and range.

    python benchmarks/loading.py --repeats 5
    python benchmarks/loading.py --only import

- import: of dense_hf, against transformers' AutoModel (at most 1.1 times its time), and of what every model of
  transformers imports (`PreTrainedModel`), which nobody who has a model can do without.
- a bundled model from its folder to its first result, a picture or frame of 96 x 96: less the time of `import torch`
  (at most 2 s), and less that of `PreTrainedModel`.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

from dense_hf.markdown import spread

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
RESULT = """
import dense_hf
from PIL import Image
from transformers import pipeline
pipe = pipeline({task!r}, model={folder!r}, device="cpu")
picture = Image.new("RGB", (96, 96), "gray")
pipe({call})
"""
ROWS = {
    "import torch": "import torch",
    "import PreTrainedModel": "from transformers import PreTrainedModel",
    "import AutoModel": "from transformers import AutoModel",
    "import dense_hf": "import dense_hf",
} | {
    f"first result, {name}": RESULT.format(task=task, folder=str(CHECKPOINTS / name), call=call)
    for task, name, call in (
        ("object-counting", "iocformer-trees", "picture"),
        ("video-semantic-segmentation", "cffm-street", "[picture]"),
        ("weakly-supervised-segmentation", "mcis-crops", "[picture], labels=[[0]]"),
    )
}


def cpu_seconds(code: str) -> float:
    """Of a new process that runs this."""
    report = "\nimport time, sys; sys.stdout.write(f'\\n{time.process_time()}')"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose names have it in them")
    arguments = parser.parse_args()
    rows = {name: code for name, code in ROWS.items() if arguments.only in name or name.startswith("import")}
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for repeat in range(arguments.repeats + 1):  # the first run reads files that are in no cache yet
        for name, code in rows.items():
            taken = cpu_seconds(code)
            if repeat:
                seconds[name].append(taken)
    for name, own in seconds.items():
        line = f"{name:32s} {spread(median(own), min(own), max(own)):24s} s"
        if name == "import dense_hf":
            line += f", {median(own) / median(seconds['import AutoModel']):.2f} of AutoModel (limit 1.1)"
        elif name.startswith("first"):
            for other in ("import torch", "import PreTrainedModel"):
                over = median(a - b for a, b in zip(own, seconds[other]))
                line += f", {over:.2f} s over {other}" + (" (limit 2)" if other.endswith("torch") else "")
        print(line, flush=True)


if __name__ == "__main__":
    main()
