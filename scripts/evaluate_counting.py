"""Print a row of Table 2.3: MAE, MSE (the root) and NAE on the validation and the test images.

    python scripts/evaluate_counting.py --model runs/iocformer --data_dir data/iocfish5k
    torchrun --standalone --nproc_per_node 4 scripts/evaluate_counting.py ...   # the same numbers, sooner

    python scripts/evaluate_counting.py --model runs/iocformer --data_dir export.json --images_dir photos
    python scripts/evaluate_counting.py --model runs/iocformer --data_dir points.csv --validation 0.2 --test 0.2

--data_dir is a folder in the layout of IOCfish5K, or annotations of any format (`dense-hf annotations --help` lists
them). Without splits, all their images are the test; shares are those of a training with the same --split_seed.

--model is a folder or a name on the Hub. Images are cut into tiles as released (256 pixels, no overlap, threshold
0.35) unless its processor or you say otherwise.

    --splits validation --output numbers.json
    --distances 6 12    # also the F1 of points at most 6, at most 12 pixels from the annotated ones

Of a model with several classes, the file of numbers has the errors of each, too ("mae/NAME").

With --output, counts are kept beside it as they come (.numbers.json.run.jsonl); the same command with --resume goes on
after a stop. A file that no evaluation has written is only replaced with --overwrite.

With --config FILE, the part `evaluation` of the file says the same; options on the command line win.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dense_hf import markdown
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checkpoints import load_counter
from dense_hf.inference.class_names import counted_classes
from dense_hf.inference.counts import evaluate_counting
from dense_hf.inference.evaluation_records import EvaluationRecord
from dense_hf.inference.evaluations import prepare_output, publish, split_of
from dense_hf.inference.point_source_options import PointSourceArguments
from dense_hf.inference.processes import closes_process_group, one_line_errors, start_processes
from dense_hf.inference.result_folders import describe_maker, hash_of
from dense_hf.metrics import LocalizationMetrics
from dense_hf.options import parse_part

COLUMNS = ("mae", "mse", "nae")
SPLITS = ("validation", "test")


@dataclass
class CountingEvaluationArguments:
    """What is counted, how, and where the numbers go."""

    model: str = field(metadata={"help": "A folder or a name on the Hub."})
    data_dir: str = field(metadata={"help": "A folder in the layout of IOCfish5K, or annotations of any format."})
    splits: list[str] | None = field(
        default=None,
        metadata={"help": "validation, test or both. Default: those that there are.", "aliases": ["--split"]},
    )
    threshold: float | None = field(
        default=None, metadata={"help": "Least score that counts. Default: the processor's (released: 0.35)."}
    )
    distances: list[float] = field(
        default_factory=list,
        metadata={"help": "Also the F1 of points that may be so many pixels from the annotated ones."},
    )
    tile_overlap: int | None = field(
        default=None, metadata={"help": "Pixels that tiles share. Default: the processor's."}
    )
    batch_size: int = field(default=8, metadata={"help": "Tiles per forward pass."})
    bf16: bool = field(
        default=False, metadata={"help": "Compute in bfloat16, as `dense-hf count --bf16`: what that costs is seen."}
    )
    output: str | None = field(default=None, metadata={"help": "A JSON file for the numbers."})
    resume: bool = field(default=False, metadata={"help": "Go on with what a stopped evaluation kept by --output."})
    overwrite: bool = field(default=False, metadata={"help": "Replace an --output that no evaluation has written."})
    quiet: bool = field(default=False, metadata={"help": "No progress bars."})

    def __post_init__(self):
        if self.splits is not None:
            self.splits = [split_of(split, SPLITS.__contains__) for split in self.splits]
            if unknown := [split for split in self.splits if split not in SPLITS]:
                raise ValueError(f"splits must be among {', '.join(SPLITS)}. Received: {', '.join(unknown)}")
        if self.distances:
            LocalizationMetrics(self.distances)  # checks them before all images are counted


@closes_process_group
@one_line_errors
def main() -> None:
    """Read, count, print."""
    state = start_processes()
    arguments, source = parse_part("evaluation", (CountingEvaluationArguments, PointSourceArguments), __doc__)
    changes = {} if arguments.tile_overlap is None else {"tile_overlap": arguments.tile_overlap}
    model, processor = load_counter(arguments.model, state.device, arguments.bf16, **changes)
    progress = not arguments.quiet
    found = source.point_source(arguments.data_dir).read(
        whole="test",
        progress=progress and state.is_main_process,
        class_names=counted_classes(model.config) or None,
    )
    examples = {split: found[split] for split in arguments.splits or SPLITS if split in found}
    if missing := [split for split in arguments.splits or () if split not in found] or (() if examples else SPLITS):
        expected = f"val_id.txt, test_id.txt or other images of {' and '.join(missing)}"
        raise InvalidDataError(arguments.data_dir, expected, f"only {', '.join(found)} images")
    prepare_output(arguments.output)
    settings = describe_maker(arguments.model, model, processor) | {
        "threshold": processor.threshold_for(arguments.threshold),
        "images": {
            split: hash_of((item.path.name, item.points.tolist()) for item in items)
            for split, items in examples.items()
        },
    }
    if arguments.bf16:
        settings["bf16"] = True
    if arguments.distances:
        settings["distances"] = arguments.distances
    with EvaluationRecord(arguments.output, settings, arguments.resume, arguments.overwrite) as record:
        results = {
            split: evaluate_counting(
                model,
                processor,
                items,
                arguments.threshold,
                arguments.batch_size,
                progress,
                split,
                record,
                arguments.distances,
            )
            for split, items in examples.items()
        }
        text = table({arguments.model: results})
        publish(text + distance_table(results, arguments.distances), results, arguments.output)
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


def distance_table(results: dict[str, dict[str, float]], distances: Sequence[float]) -> str:
    """A row for each split and distance, below the other table; nothing if nobody asked."""
    rows = [
        (split, f"{distance:g}", *(f"{numbers[f'{name}@{distance:g}']:.3f}" for name in ("f1", "precision", "recall")))
        for split, numbers in results.items()
        for distance in distances
        if f"f1@{distance:g}" in numbers
    ]
    if not rows:
        return "\n\nNo F1: the model gives counts without points." if distances else ""
    return "\n\n" + markdown.table(("split", "pixels", "F1", "precision", "recall"), rows)


if __name__ == "__main__":
    main()
