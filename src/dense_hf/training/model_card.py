"""The card of a trained model: what was run, on which data, and the numbers of the results file."""

import json
import math
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

RESULTS_FILE = "results.json"
_METRIC_NAMES = {"mae": "MAE", "mse": "MSE (root)", "nae": "NAE"}


@dataclass(frozen=True)
class RunDescription:
    """What a card says about the run that made a model.

    Attributes:
        title: Name of the model.
        command: The exact command line.
        config: All sections of the configuration file, as they took effect.
        dataset: Name of the data; says "synthetic" if it is.
        num_images: Images, or videos, per split.
        processes: Number of processes.
        extra_images: Images of other data sets that were trained on, too: name to number, counted in `num_images`.
    """

    title: str
    command: str
    config: dict[str, dict]
    dataset: str
    num_images: dict[str, int]
    processes: int
    extra_images: Mapping[str, int] = field(default_factory=dict)

    @property
    def training_data(self) -> str:
        """All that was trained on. `dataset` alone is what numbers are of."""
        extra = [f"{number} images of {name}" for name, number in self.extra_images.items()]
        return f"{self.dataset}, and {', '.join(extra)}" if extra else self.dataset


def command_line(words: Sequence[str], num_processes: int) -> str:
    """The command that started a script, to be typed again; a token is not shown.

    Args:
        words: `sys.argv`.
        num_processes: Processes of the run.
    """
    launcher = (
        ["python"] if num_processes == 1 else ["torchrun", "--standalone", "--nproc_per_node", str(num_processes)]
    )
    shown = list(words)
    for index, word in enumerate(words):
        name, equals, _ = word.partition("=")
        if name in ("--hub_token", "--hub-token"):
            if equals:
                shown[index] = f"{name}=..."
            elif index + 1 < len(shown):
                shown[index + 1] = "..."
    return shlex.join([*launcher, *shown])


def write_results(output_dir: Path, results: Mapping[str, object]) -> None:
    """Write the file that the card's numbers are read from."""
    text = json.dumps(without_nan(dict(results)), indent=2, sort_keys=True) + "\n"
    (output_dir / RESULTS_FILE).write_text(text, encoding="utf-8")


def without_nan(value: Any) -> Any:
    """JSON has no NaN: null for a class that does not occur."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_counting_card(output_dir: Path, run: RunDescription) -> None:
    """Write `README.md` beside the weights. All numbers come from `results.json` in the same folder.

    Without that file (a push in the middle of a run) the card says that there are no results yet.
    """
    file = output_dir / RESULTS_FILE
    results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    splits = {name: values for name, values in results.items() if isinstance(values, dict)}
    eval_results = [
        EvalResult(
            task_type="object-counting",
            dataset_type=run.dataset,
            dataset_name=run.dataset,
            dataset_split=split,
            metric_type=key,
            metric_name=name,
            metric_value=values[key],
        )
        for split, values in splits.items()
        for key, name in _METRIC_NAMES.items()
        if key in values
    ]
    data = ModelCardData(
        library_name="transformers",
        tags=["object-counting", "dense_hf", "iocformer"],
        model_name=run.title,
        eval_results=eval_results or None,
    )
    table = ["| split | images | MAE | MSE (root) | NAE |", "|---|---|---|---|---|"]
    for split, values in splits.items():
        numbers = " | ".join(f"{values[key]:.2f}" for key in _METRIC_NAMES)
        table.append(f"| {split} | {run.num_images.get(split, '?')} | {numbers} |")
    body = f"""# {run.title}

Counts objects and points at them. Trained with dense_hf on: **{run.dataset}**.

```python
import dense_hf
from transformers import pipeline

count = pipeline("object-counting", model="this/repository")
count("image.jpg")
```

## Results

{chr(10).join(table) if splits else "None yet: this run has not come to its end."}

{_selection(results)}

{how_it_was_made(run, "images")}
"""
    ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}").save(output_dir / "README.md")


def how_it_was_made(run: RunDescription, unit: str) -> str:
    """The section of a card with the command, the versions and the configuration.

    Args:
        run: what was run.
        unit: what `num_images` counts, "images" or "videos".
    """
    return f"""## How it was made

```bash
{run.command}
```

{run.processes} process(es), {", ".join(f"{n} {split} {unit}" for split, n in run.num_images.items())}.
Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}.

```yaml
{yaml.safe_dump(_without_token(run.config), sort_keys=False).strip()}
```"""


def _without_token(config: dict[str, dict]) -> dict[str, dict]:
    return {name: {k: v for k, v in keys.items() if k != "hub_token"} for name, keys in config.items() if keys}


def _selection(results: dict[str, object]) -> str:
    if "best_epoch" not in results:
        return ""
    chosen = (
        "the best of the evaluated ones by MAE on the validation images"
        if "validation" in results
        else "the last; there were no validation images to choose by"
    )
    return (
        f"These are the weights after epoch {results['best_epoch']:.4g} of {results['epochs']:.4g}, {chosen}. "
        f"Seed {results['seed']}, one run."
    )
