"""Print a row of Table 2.3: MAE, MSE (the root) and NAE on the validation and the test images.

    python scripts/evaluate_counting.py --model runs/iocformer --data_dir data/iocfish5k
    torchrun --standalone --nproc_per_node 4 scripts/evaluate_counting.py ...   # the same numbers, sooner

--model is a folder or a name on the Hub. Images are cut into tiles as released (256 pixels, no overlap, threshold
0.35) unless told otherwise.

    --splits validation --output numbers.json

With --output, counts are kept beside it as they come (.numbers.json.run.jsonl); the same command with --resume goes on
after a stop. A file that no evaluation has written is only replaced with --overwrite.

With --config FILE, the part `evaluation` of the file says the same; options on the command line win.
"""

from dataclasses import dataclass, field
from pathlib import Path

from dense_hf.data.counting_examples import read_examples
from dense_hf.data.point_folder import SPLIT_LISTS
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checkpoints import load_counter
from dense_hf.inference.counts import evaluate_counting
from dense_hf.inference.evaluation_records import EvaluationRecord
from dense_hf.inference.evaluations import prepare_output, publish, split_of
from dense_hf.inference.processes import closes_process_group, one_line_errors, start_processes
from dense_hf.inference.result_folders import describe_maker, hash_of
from dense_hf.options import parse_part

COLUMNS = ("mae", "mse", "nae")
SPLITS = ("validation", "test")


@dataclass
class CountingEvaluationArguments:
    """What is counted, how, and where the numbers go."""

    model: str = field(metadata={"help": "A folder or a name on the Hub."})
    data_dir: str = field(metadata={"help": "A folder in the layout of IOCfish5K."})
    splits: list[str] | None = field(
        default=None,
        metadata={"help": "validation, test or both. Default: those with a list.", "aliases": ["--split"]},
    )
    threshold: float = field(default=0.35, metadata={"help": "Least score that counts."})
    tile_overlap: int | None = field(
        default=None, metadata={"help": "Pixels that tiles share. Default: the processor's."}
    )
    batch_size: int = field(default=8, metadata={"help": "Tiles per forward pass."})
    output: str | None = field(default=None, metadata={"help": "A JSON file for the numbers."})
    resume: bool = field(default=False, metadata={"help": "Go on with what a stopped evaluation kept by --output."})
    overwrite: bool = field(default=False, metadata={"help": "Replace an --output that no evaluation has written."})
    quiet: bool = field(default=False, metadata={"help": "No progress bars."})

    def __post_init__(self):
        if self.splits is not None:
            self.splits = [split_of(split, SPLITS.__contains__) for split in self.splits]
            if unknown := [split for split in self.splits if split not in SPLITS]:
                raise ValueError(f"splits must be among {', '.join(SPLITS)}. Received: {', '.join(unknown)}")


@closes_process_group
@one_line_errors
def main() -> None:
    """Read, count, print."""
    state = start_processes()
    (arguments,) = parse_part("evaluation", (CountingEvaluationArguments,), __doc__)
    changes = {} if arguments.tile_overlap is None else {"tile_overlap": arguments.tile_overlap}
    model, processor = load_counter(arguments.model, state.device, **changes)
    lists = {split: Path(arguments.data_dir, SPLIT_LISTS[split]) for split in SPLITS}
    splits = arguments.splits or [split for split, path in lists.items() if path.exists()]
    if not splits:
        raise InvalidDataError(arguments.data_dir, "val_id.txt or test_id.txt", "neither")
    progress = not arguments.quiet
    examples = read_examples(arguments.data_dir, splits, progress=progress and state.is_main_process)
    prepare_output(arguments.output)
    settings = describe_maker(arguments.model, model, processor) | {
        "threshold": arguments.threshold,
        "images": {
            split: hash_of((item.path.name, len(item.points)) for item in items) for split, items in examples.items()
        },
    }
    with EvaluationRecord(arguments.output, settings, arguments.resume, arguments.overwrite) as record:
        results = {
            split: evaluate_counting(
                model, processor, items, arguments.threshold, arguments.batch_size, progress, split, record
            )
            for split, items in examples.items()
        }
        publish(table({arguments.model: results}), results, arguments.output)
        record.finish()


def table(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """Rows of Table 2.3 as Markdown; a split that was not counted is a dash."""
    lines = [
        "| Method | " + " | ".join(f"{split} {name.upper()}" for split in SPLITS for name in COLUMNS) + " |",
        "|---" * (1 + len(SPLITS) * len(COLUMNS)) + "|",
    ]
    for method, results in rows.items():
        cells = [f"{results[split][name]:.2f}" if split in results else "-" for split in SPLITS for name in COLUMNS]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
