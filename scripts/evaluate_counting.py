"""Print a row of Table 2.3: MAE, MSE (the root) and NAE on the validation and the test images.

    python scripts/evaluate_counting.py --model runs/iocformer --data_dir data/iocfish5k
    torchrun --standalone --nproc_per_node 4 scripts/evaluate_counting.py ...   # the same numbers, sooner

`--model` is a folder or a name on the Hub. Images are cut into tiles as released (256 pixels, no overlap, threshold
0.35) unless told otherwise.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.data.counting_examples import read_examples
from dense_hf.data.point_folder import SPLIT_LISTS
from dense_hf.errors import InvalidDataError
from dense_hf.inference.counts import evaluate_counting
from dense_hf.inference.processes import closes_process_group

COLUMNS = ("mae", "mse", "nae")


@closes_process_group
def main() -> None:
    """Read, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a folder or a name on the Hub")
    parser.add_argument("--data_dir", required=True, help="a folder in the layout of IOCfish5K")
    parser.add_argument("--splits", nargs="+", choices=("validation", "test"), help="default: those with a list")
    parser.add_argument("--threshold", type=float, default=0.35, help="least score that counts (0.35)")
    parser.add_argument("--tile_overlap", type=int, help="pixels that tiles share (the processor's)")
    parser.add_argument("--batch_size", type=int, default=8, help="tiles per forward pass (8)")
    parser.add_argument("--output", type=Path, help="a JSON file for the numbers")
    arguments = parser.parse_args()

    # without `cpu`, torchrun on a machine without a GPU starts independent runs instead of one (accelerate 1.15)
    state = PartialState(cpu=not torch.accelerator.is_available())
    try:
        options = {} if arguments.tile_overlap is None else {"tile_overlap": arguments.tile_overlap}
        processor = IOCFormerImageProcessor.from_pretrained(arguments.model, **options)
        model = IOCFormerForObjectCounting.from_pretrained(arguments.model).eval().to(state.device)
        lists = {split: Path(arguments.data_dir, SPLIT_LISTS[split]) for split in ("validation", "test")}
        splits = arguments.splits or [split for split, path in lists.items() if path.exists()]
        if not splits:
            raise InvalidDataError(arguments.data_dir, "val_id.txt or test_id.txt", "neither")
        examples = read_examples(arguments.data_dir, splits, progress=state.is_main_process)
    except (InvalidDataError, OSError, ValueError) as error:
        sys.exit(f"evaluate_counting.py: {error}")

    results = {
        split: evaluate_counting(model, processor, items, arguments.threshold, arguments.batch_size, description=split)
        for split, items in examples.items()
    }
    if state.is_main_process:
        print(table({arguments.model: results}))
        if arguments.output is not None:
            arguments.output.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def table(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """Rows of Table 2.3 as Markdown; a split that was not counted is a dash."""
    splits = ("validation", "test")
    lines = [
        "| Method | " + " | ".join(f"{split} {name.upper()}" for split in splits for name in COLUMNS) + " |",
        "|---" * (1 + len(splits) * len(COLUMNS)) + "|",
    ]
    for method, results in rows.items():
        cells = [f"{results[split][name]:.2f}" if split in results else "-" for split in splits for name in COLUMNS]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
