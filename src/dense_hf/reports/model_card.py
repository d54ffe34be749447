"""What cards of trained models share: what was run, on which data, and the numbers of the results file."""

import json
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

from ..data.files import without_nan

RESULTS_FILE = "results.json"


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


def read_results(output_dir: Path) -> dict[str, Any]:
    """What `write_results` has written; nothing in the middle of a run, whose card says that there are none yet."""
    file = output_dir / RESULTS_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def splits_of(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Those of the results that are numbers of a split."""
    return {name: values for name, values in results.items() if isinstance(values, dict)}


def eval_result(
    task: str, dataset: str, split: str, metric: str, name: str, value: float, **source: str
) -> EvalResult:
    """A number for the metadata of a card, with `source_name` and `source_url` if it is not ours."""
    return EvalResult(
        task_type=task,
        dataset_type=dataset,
        dataset_name=dataset,
        dataset_split=split,
        metric_type=metric,
        metric_name=name,
        metric_value=value,
        **source,
    )


def measured(
    task: str, dataset: str, splits: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]
) -> list[EvalResult] | None:
    """Numbers of splits for the metadata of a card; None if there are none.

    Args:
        task: as the Hub names it.
        dataset: name of the data.
        splits: see `splits_of`.
        names: key of a number to the name of its metric; a number that a split has not is left out.
    """
    found = [
        eval_result(task, dataset, split, key, name, values[key])
        for split, values in splits.items()
        for key, name in names.items()
        if key in values
    ]
    return found or None


def save_card(output_dir: Path, data: ModelCardData, body: str) -> None:
    """Write `README.md` beside the weights."""
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
