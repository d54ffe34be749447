"""What cards of trained models share: what was run, on which data, and the numbers of the results file."""

import json
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..data.files import without_nan, write_file

RESULTS_FILE = "results.json"
# what the field calls a number whose name in the tables means something else: "MSE" of counting is a root
METRIC_TYPES = {"mse": "rmse"}


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
        limits: What users must know of the method, see `Method.limits`.
    """

    title: str
    command: str
    config: dict[str, dict]
    dataset: str
    num_images: dict[str, int]
    processes: int
    extra_images: Mapping[str, int] = field(default_factory=dict)
    limits: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """What the Hub finds the model by: the last word of its title."""
        return self.title.split()[-1].lower()

    @property
    def training_data(self) -> str:
        """All that was trained on. `dataset` alone is what numbers are of."""
        extra = [f"{number} images of {name}" for name, number in self.extra_images.items()]
        return f"{self.dataset}, and {', '.join(extra)}" if extra else self.dataset


def command_line(words: Sequence[str], num_processes: int) -> str:
    """The command (`sys.argv`) that started a script in some processes, to be typed again; a token is not shown."""
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
    write_file(output_dir / RESULTS_FILE, text.encode())


def read_results(folder: Path, name: str = RESULTS_FILE) -> dict[str, Any]:
    """What `write_results` or a step of the pipeline has written; nothing where it has not come to its end."""
    file = folder / name
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def splits_of(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Those of the results that are numbers of a split."""
    return {name: values for name, values in results.items() if isinstance(values, dict)}


def eval_result(
    task: str, dataset: str, split: str, metric: str, name: str, value: float, **source: Any
) -> EvalResult:
    """A number for the metadata of a card, with `source_name` and `source_url` if it is not ours.

    Shares are 0 to 1, as `evaluate` gives them; tables have percent. The type of a data set is an identifier.
    """
    return EvalResult(
        task_type=task,
        dataset_type=re.sub(r"[^a-z0-9.]+", "-", dataset.lower()).strip("-") or "data",
        dataset_name=dataset,
        dataset_split=split,
        metric_type=METRIC_TYPES.get(metric, metric),
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
        names: key of a number to the name of its metric; a number that a split has not, or nothing for, is left out.
    """
    found = [
        eval_result(task, dataset, split, key, name, values[key])
        for split, values in splits.items()
        for key, name in names.items()
        if values.get(key) is not None
    ]
    return found or None


def write_card(
    output_dir: Path,
    run: RunDescription,
    parts: Sequence[str],
    tags: Sequence[str],
    unit: str = "images",
    limits: Sequence[str] = (),
    **data: Any,
) -> None:
    """Write `README.md` beside the weights: title, parts, and how the model was made.

    All numbers come from `results.json` in the same folder. Without that file (a push in the middle of a run) a card
    says that there are no results yet.

    Args:
        output_dir: the folder.
        run: what was run.
        parts: paragraphs, tables and sections; empty ones are left out.
        tags: the task, and what else the model can be found by.
        unit: see `how_it_was_made`.
        limits: what users must know, besides the limits of the method.
        data: more of the card's metadata, see `ModelCardData`.
    """
    facts = ModelCardData(
        library_name="transformers", tags=[tags[0], "dense_hf", *tags[1:]], model_name=run.title, **data
    )
    listed = "\n".join(f"- {limit}" for limit in (*limits, *run.limits))
    known_limits = [f"## Limits\n\n{listed}"] if listed else []
    body = "\n\n".join([f"# {run.title}", *filter(None, parts), *known_limits, how_it_was_made(run, unit)])
    card = ModelCard(f"---\n{facts.to_yaml()}\n---\n\n{body}\n")
    write_file(output_dir / "README.md", str(card).encode())


def code_with_model(auto_class: str, lines: str, further_import: str = "") -> str:
    """Python for a card: a model and its processor from the Hub, and what to do with them."""
    return f"""```python
import dense_hf
from PIL import Image
from transformers import AutoImageProcessor, {auto_class}
{further_import}
model = {auto_class}.from_pretrained("this/repository").eval()
processor = AutoImageProcessor.from_pretrained("this/repository")
{lines.strip()}
```"""


def which_weights(results: Mapping[str, Any], chosen: str = "", further: str = ", one run") -> str:
    """A sentence on the weights that the numbers are of; nothing of a run that has not come to its end.

    Args:
        results: see `read_results`.
        chosen: by what, if that needs to be said, after a comma.
        further: what else is to be said of the run.
    """
    if "seed" not in results:
        return ""
    if "best_epoch" in results:
        which = f"epoch {results['best_epoch']:.4g} of {results['epochs']:.4g}"
    else:
        which = f"step {results['best_step']} of {results['steps']}"
    return f"These are the weights after {which}{chosen}. Seed {results['seed']}{further}."


def how_it_was_made(run: RunDescription, unit: str) -> str:
    """The section of a card with command, versions and configuration; `num_images` counts a unit, such as "videos"."""
    config = {name: {k: v for k, v in keys.items() if k != "hub_token"} for name, keys in run.config.items() if keys}
    return f"""## How it was made

```bash
{run.command}
```

{run.processes} process(es), {", ".join(f"{n} {split} {unit}" for split, n in run.num_images.items())}.
Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}.

```yaml
{yaml.safe_dump(config, sort_keys=False).strip()}
```"""
