"""Does `dense-hf rank` save annotation? Simulated with pictures that are annotated already.

    python scripts/demo/simulate_ranking.py data/dsb2018/dark

Eight training pictures are annotated at first, more follow in steps: at random, or by the rule of `dense-hf rank` with
the model that the annotated ones gave. A model is learned at each step, which must take a second instead of minutes:
ridge regressions of a frozen EfficientNet-Lite0 (cells of 16 pixels, their surroundings, and 256 random features of
both), one for the density of a cell and one for whether an object is in it, which stands for points. Errors are those
of the density count.

How much distance between pictures counts beside unsureness (`DIVERSITY`) can be chosen on the validation pictures; the
test pictures say what the one in use is worth. Written to --output, from which results_page.py makes a table.

N pictures; C cells of one; D features of a cell.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import AutoBackbone, AutoConfig

from dense_hf import CounterImageProcessor, InvalidDataError
from dense_hf.cli.ranking import DIVERSITY, NEAR_THRESHOLD, order_to_annotate, unsureness
from dense_hf.counting.count_ranges import spread_of
from dense_hf.data import write_file
from dense_hf.data.counting_examples import CountingExample, read_examples
from dense_hf.markdown import table
from dense_hf.training.backbone_weights import load_backbone_weights

ROOT = Path(__file__).parents[2]
BACKBONE = "tf_efficientnet_lite0"
STRIDE, RANDOM_FEATURES, STRENGTH = 16, 256, 30.0
SIZES = (8, 16, 24, 32, 40, 48, 60, 80, 100)  # annotated pictures
BUDGETS = (40, 60, 80, 100)
FEWER = 0.6  # the share of a budget that should be enough
DIVERSITIES = (0.0, 0.1, 0.5, 1.0, 3.0)
POINT = 0.4  # the least score of a cell that is counted


@torch.no_grad()
def cells_of(backbone: Any, processor: Any, examples: Sequence[CountingExample], name: str) -> tuple[np.ndarray, ...]:
    """Features [N, h, w, D], objects per cell [N, h, w] and the number of objects [N]; pictures are of one size."""
    maps, objects = [], []
    for example in tqdm(examples, desc=name, unit="image", disable=None):
        (part,) = processor.iter_parts(processor.to_pixels(example.open()))
        maps.append(backbone(part[None]).feature_maps[-1][0].permute(1, 2, 0).numpy())
        of_cells = np.zeros(maps[-1].shape[:2], np.float32)
        columns, rows = (example.points // STRIDE).astype(int).T
        np.add.at(of_cells, (rows, columns), 1)
        objects.append(of_cells)
    return np.stack(maps), np.stack(objects), np.array([len(example.points) for example in examples])


def with_surroundings(cells: np.ndarray) -> np.ndarray:
    """[N, h, w, D] -> float32 [N, C, RANDOM_FEATURES + D + 1]: also of the 3 x 3 cells around, and a constant."""
    number, height, width, _ = cells.shape
    padded = np.pad(cells, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    around = sum(padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9
    both = np.concatenate([cells, around], axis=-1)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(both.shape[-1], RANDOM_FEATURES)) / both.shape[-1] ** 0.5
    drawn = np.maximum(both @ weights.astype(np.float32) + rng.uniform(-1, 1, RANDOM_FEATURES), 0)
    parts = [drawn, cells, np.ones((*cells.shape[:3], 1))]
    return np.concatenate(parts, axis=-1).reshape(number, height * width, -1).astype(np.float32)


class Pool:
    """Training pictures that can be annotated, and those that judge."""

    def __init__(self, backbone: Any, processor: Any, examples: dict[str, list[CountingExample]]):
        found = {split: cells_of(backbone, processor, ones, split) for split, ones in examples.items()}
        middle, deviation = (getattr(found["train"][0], statistic)(axis=(0, 1, 2)) for statistic in ("mean", "std"))
        scaled = {split: (cells - middle) / (deviation + 1e-6) for split, (cells, _, _) in found.items()}
        self.looks = scaled["train"].mean(axis=(1, 2))
        self.cells = {split: with_surroundings(cells) for split, cells in scaled.items()}
        self.counts = {split: counts for split, (_, _, counts) in found.items()}
        train, objects = self.cells["train"], found["train"][1].reshape(len(self.looks), -1)
        targets = np.stack([objects, objects > 0], axis=-1).astype(np.float32)  # [N, C, 2]
        self._gram = np.stack([one.T @ one for one in train])
        self._moment = np.stack([one.T @ target for one, target in zip(train, targets)])

    def sums(self, pictures: Sequence[int]) -> np.ndarray:
        """What pictures add to the equations of a regression, [D, D + 2]."""
        return np.concatenate([self._gram[pictures].sum(axis=0), self._moment[pictures].sum(axis=0)], axis=1)

    def fit(self, sums: np.ndarray) -> np.ndarray:
        """Weights [D, 2] of densities and of points, of the sum of `sums`."""
        gram, moment = sums[:, :-2], sums[:, -2:]
        return np.linalg.solve(gram + STRENGTH * np.eye(len(gram), dtype=gram.dtype), moment)

    def error(self, weights: np.ndarray, split: str) -> float:
        """The mean absolute error of the counts of a split."""
        counts = np.maximum(self.cells[split] @ weights[:, 0], 0).sum(axis=1)
        return float(np.abs(counts - self.counts[split]).mean())

    def signals(self, weights: np.ndarray, pictures: np.ndarray) -> list[dict[str, float]]:
        """What `dense_hf.cli.ranking.look_at` asks of a calibrated model."""
        predicted = self.cells["train"][pictures] @ weights
        densities, found = np.maximum(predicted[..., 0], 0).sum(axis=1), predicted[..., 1] >= POINT
        rows = []
        for scores, points, density in zip(predicted[..., 1], found, densities):
            count = int(points.sum())
            row = {"disagreement": abs(count - density) / spread_of(count)}
            row["width"] = spread_of(count, density) / (1 + count) ** 0.5
            if count:
                row["uncertain"] = float((scores[points] < POINT + NEAR_THRESHOLD).mean())
            rows.append(row)
        return rows


Rule = Callable[[Pool, np.ndarray, list[int], np.ndarray], list[int]]


def ranked_by(diversity: float) -> Rule:
    """The order of `dense-hf rank` with this exponent."""

    def order(pool: Pool, weights: np.ndarray, annotated: list[int], rest: np.ndarray) -> list[int]:
        unsure = unsureness(pool.signals(weights, rest))
        return order_to_annotate(pool.looks[rest], unsure, pool.looks[annotated], diversity)

    return order


def annotate(pool: Pool, start: Sequence[int], rule: Rule) -> dict[str, list[float]]:
    """Errors on validation and test pictures, and objects annotated, at each of `SIZES`."""
    annotated, sums = list(start), pool.sums(start)
    weights = pool.fit(sums)
    row: dict[str, list[float]] = {"validation": [], "test": [], "objects": []}
    for size in SIZES:
        if size > len(annotated):
            rest = np.setdiff1d(np.arange(len(pool.looks)), annotated)
            new = rest[rule(pool, weights, annotated, rest)[: size - len(annotated)]].tolist()
            annotated, sums = annotated + new, sums + pool.sums(new)
            weights = pool.fit(sums)
        for split in ("validation", "test"):
            row[split].append(pool.error(weights, split))
        row["objects"].append(float(pool.counts["train"][annotated].sum()))
    return row


def simulate(pool: Pool, seeds: Sequence[int], starts: int) -> dict[str, Any]:
    """Means over the starts of each seed: {rule: {seed: {"validation" | "test" | "objects": [at each size]}}}."""
    rows: dict[str, Any] = {}
    rules = {f"{diversity:g}": ranked_by(diversity) for diversity in DIVERSITIES}
    for seed in tqdm(seeds, desc="Annotating", unit="seed", disable=None):
        rng = np.random.default_rng(seed)
        first = [rng.choice(len(pool.looks), SIZES[0], replace=False).tolist() for _ in range(starts)]
        at_random: Rule = lambda pool, weights, annotated, rest, rng=rng: rng.permutation(len(rest)).tolist()  # noqa: E731
        for name, rule in {"random": at_random, **rules}.items():
            found = [annotate(pool, start, rule) for start in first]
            means = {key: np.mean([one[key] for one in found], axis=0).round(3).tolist() for key in found[0]}
            rows.setdefault(name, {})[str(seed)] = means
    return rows


def best_diversity(rules: dict[str, Any]) -> str:
    """The rule whose mean error on validation pictures, over all seeds and sizes after the first, is the least."""
    errors = {
        name: np.mean([one["validation"][1:] for one in of_seeds.values()])
        for name, of_seeds in rules.items()
        if name != "random"
    }
    return min(errors, key=lambda name: errors[name])


def section(results: dict[str, Any]) -> str:
    """The text of docs/results.md."""
    rules, sizes = results["rules"], results["sizes"]
    at = [sizes.index(budget) for budget in BUDGETS]
    rows = []
    for name, of_seeds in rules.items():
        means = {key: np.mean([one[key] for one in of_seeds.values()], axis=0)[at] for key in ("validation", "test")}
        objects = np.mean([one["objects"] for one in of_seeds.values()], axis=0)[at]
        cells = [" / ".join(f"{error:.2f}" for error in errors) for errors in means.values()]
        title = "at random" if name == "random" else f"`dense-hf rank`, diversity {name}"
        rows.append((title, *cells, " / ".join(f"{number:,.0f}" for number in objects)))
    pictures = " / ".join(map(str, BUDGETS))
    head = ("", f"MAE on validation, {pictures} pictures", "MAE on test", "objects annotated")
    used, lines = f"{results['diversity']:g}", []
    for seed, at_random in rules["random"].items():
        found = rules[used][seed]["test"]
        for budget in BUDGETS:
            goal = at_random["test"][sizes.index(budget)]
            needed = next((size for size, error in zip(sizes, found) if error <= goal), None)
            met = needed is not None and needed <= FEWER * budget
            reached = "not with as many" if needed is None or needed > budget else f"{needed} ({needed / budget:.0%})"
            lines.append((seed, budget, f"{goal:.2f}", reached, "met" if met else "missed"))
    met = sum(line[-1] == "met" for line in lines)
    second = ("seed", "pictures at random", "MAE", "pictures by rank for it", f"at most {FEWER:.0%}")
    return "\n\n".join(
        [
            f"Mean of {results['starts']} starts for each of {len(rules['random'])} seeds.",
            table(head, rows),
            f"On the validation pictures diversity {results['best']} errs the least. `dense-hf rank` has {used}, with "
            f"which the goal is met in {met} of {len(lines)} cases on the test pictures:",
            table(second, lines),
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="pictures of one size, in three splits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--starts", type=int, default=5, help="first pictures that are drawn for each (default: 5)")
    default = ROOT / "docs" / "results" / "ranking.json"
    parser.add_argument("--output", type=Path, default=default, metavar="FILE", help="default: in docs/results")
    options = parser.parse_args(arguments)
    try:
        examples = read_examples(options.data, ["train", "validation", "test"])
        config = AutoConfig.for_model("timm_backbone", backbone=BACKBONE, features_only=True, out_indices=[3])
        backbone = AutoBackbone.from_config(config).eval()
        load_backbone_weights(backbone, BACKBONE, "package:efficientnet-lite0")
        processor = CounterImageProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3)
        rules = simulate(Pool(backbone, processor, examples), options.seeds, options.starts)
    except (InvalidDataError, ValueError) as error:
        print(f"simulate_ranking.py: {error}", file=sys.stderr)
        return 1
    results = {
        "sizes": list(SIZES),
        "starts": options.starts,
        "diversity": DIVERSITY,
        "best": best_diversity(rules),
        "rules": rules,
    }
    write_file(options.output, (json.dumps(results, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
