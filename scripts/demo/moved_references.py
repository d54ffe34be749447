"""Does a video model look where things were, or only at what there was? Its references are moved.

    python scripts/demo/moved_references.py data/camvid CFFM=runs/camvid/cffm/seed_1/model \\
        MRCFA=runs/camvid/mrcfa/seed_1/model

The references of a clip are rolled by half of their width, and so are those of a clip whose target is black, as one
that was lost. Told is which share of the labels stays where it was, which share moves with the references, and which
share of a map is its most frequent label, the mean over clips of the validation videos. A model that looks at places
has labels that move; one that only asks which things there were has labels that stay. results_page.py makes a table of
--output.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from dense_hf.data import open_image, read_video_folder, write_file
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.markdown import percent, table

ROOT = Path(__file__).parents[2]
COLUMNS = {
    "whole_stay": "stay, target whole",
    "whole_move": "move",
    "lost_stay": "stay, target lost",
    "lost_move": "move",
    "lost_one_label": "most frequent label of a lost target",
    "whole_one_label": "of a whole one",
}


def look(model: Any, clip: Tensor, black: Tensor) -> dict[str, float]:
    """The shares of a clip.

    Args:
        model: clips [1, T, 3, h, w] -> logits of the last frame.
        clip: the references and, last, the target.
        black: [3, h, w], a lost frame.
    """
    half = clip.shape[-1] // 2
    found = {}
    for name, target in (("whole", clip[:, -1:]), ("lost", black[None, None])):
        still, moved = (
            model(torch.cat([references, target], dim=1)).logits[0].argmax(dim=0)
            for references in (clip[:, :-1], clip[:, :-1].roll(half, dims=-1))
        )
        found[f"{name}_stay"] = (still == moved).float().mean().item()
        found[f"{name}_move"] = (still.roll(still.shape[-1] // 2, dims=-1) == moved).float().mean().item()
        found[f"{name}_one_label"] = still.flatten().bincount().max().item() / still.numel()
    return found


def section(results: Mapping[str, Any]) -> str:
    """The table of docs/results.md."""
    lines = [(name, *(percent(row[key]) for key in COLUMNS)) for name, row in results["rows"].items()]
    return f"{results['clips']} clips, percent of the pixels.\n\n" + table(("", *COLUMNS.values()), lines, "lr")


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of videos with a validation list")
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER", help="trained models, and what they are called")
    parser.add_argument("--every", type=int, default=3, help="which targets of a video (default: each third)")
    default = ROOT / "docs" / "results" / "moved_references.json"
    parser.add_argument("--output", type=Path, default=default, metavar="FILE", help="default: in docs/results")
    options = parser.parse_args(arguments)
    videos = read_video_folder(options.data).splits["validation"]
    rows = {}
    for name, folder in (one.split("=", 1) for one in options.models):
        model, processor = load_video_model(folder)
        offsets = [*model.config.frame_offsets, 0]
        found = []
        for video in tqdm(videos, desc=name, unit="video", disable=None):
            for last in range(offsets[0], len(video.frames), options.every):
                pictures = [open_image(video.frames[last - offset].image_path) for offset in offsets]
                pixels = processor([pictures], return_tensors="pt")["pixel_values"]
                black = [np.zeros_like(np.asarray(pictures[-1]))]
                found.append(look(model, pixels, processor(black, return_tensors="pt")["pixel_values"][0, 0]))
        rows[name] = {key: float(f"{np.mean([one[key] for one in found]):.4f}") for key in COLUMNS}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_file(options.output, (json.dumps({"clips": len(found), "rows": rows}, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
