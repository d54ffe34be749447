"""What of a training of the demo lies in checkpoints/, and where it comes from."""

import json
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from make_model_cards import checkpoint_card
from safetensors.torch import load_file, save_file

from dense_hf.data import write_file

ROOT = Path(__file__).parents[2]
WEIGHTS = "model.safetensors"


def bundle(run: Path, folder: Path, results: dict[str, Any], half: bool = False, **config: Any) -> None:
    """Weights, configuration and processor of a run, without copies of our code; results and card.

    Args:
        run: folder of the run.
        folder: what will be checkpoints/NAME; made if needed.
        results: of all runs, for results.json.
        half: Whether weights are stored in half precision, for a file of half the size. The configuration still says
            what they are loaded as.
        config: what config.json has besides.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if half:
        weights = load_file(run / WEIGHTS)
        rounded = {name: one.half() if one.is_floating_point() else one for name, one in weights.items()}
        save_file(rounded, folder / WEIGHTS, metadata={"format": "pt"})
    else:
        shutil.copyfile(run / WEIGHTS, folder / WEIGHTS)
    for name, more in (("config.json", config), ("preprocessor_config.json", {})):
        content = json.loads((run / name).read_text(encoding="utf-8")) | more
        content.pop("auto_map", None)
        write_file(folder / name, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n")
    write_file(folder / "results.json", json.dumps(results, indent=2).encode() + b"\n")
    write_file(folder / "README.md", checkpoint_card(results["checkpoint"], results).encode())


def remember_start(output: Path) -> dict[str, str]:
    """What is known of the start of the runs in a folder; the first call, before there are runs, writes it down.

    Returns:
        commit, started, python, torch and transformers; nothing for runs that began without being noted. Runs that go
        on later keep the commit that they began with.
    """
    file = output / "made.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    if any(output.iterdir()):
        return {}
    known = {
        "started": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if commit := current_commit():
        known["commit"] = commit
    write_file(file, json.dumps(known, indent=2).encode() + b"\n")
    return known


def current_commit() -> str | None:
    """The commit of this clone, with a remark if files differ from it; None without git."""
    try:
        describe = ["git", "describe", "--always", "--abbrev=12", "--dirty= with changes", "--exclude=*"]
        return subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
