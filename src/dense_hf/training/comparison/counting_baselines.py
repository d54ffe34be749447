"""What every table of counters has beside them: the best constant, and a line through frozen features.

C channels of a feature map, n training images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoBackbone, AutoConfig, PreTrainedModel

from ...counting.counting_backbone import drop_stages_behind_the_output
from ...counting.image_processing_counter import CounterImageProcessor
from ...data.counting_examples import CountingExample
from ...inference.shares import each_of_share
from ..backbone_weights import load_backbone_weights
from .backbones import pixel_values
from .counting_recipes import Budget, backbone_fields

STRENGTHS = tuple(10.0**power for power in range(-3, 6))


def best_constant(train: Sequence[CountingExample]) -> float:
    """The count that errs the least on the training images if it is said of every image: their median."""
    return float(np.median([len(example.points) for example in train]))


@torch.no_grad()
def summed_features(
    backbone: torch.nn.Module, processor: CounterImageProcessor, examples: Sequence[CountingExample], description: str
) -> np.ndarray:
    """float64 [n, C + 1]: the last feature map of each image, summed over its cells, and the number of these."""
    rows = []
    backbone.eval()
    for index in each_of_share(range(len(examples)), description, "image", True):
        total: Any = 0
        for part in processor.iter_parts(processor.to_pixels(examples[index].open())):
            features = backbone(part[None]).feature_maps[-1][0].double()
            total = total + torch.cat([features.sum(dim=(1, 2)), torch.tensor([float(features[0].numel())])])
        rows.append(total.numpy())
    return np.stack(rows)


def fit_ridge(
    features: np.ndarray, counts: np.ndarray, of_validation: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """Weights [C + 1] and a constant of the line that is best on validation images, of those of some strengths.

    Args:
        features: of the training images, [n, C + 1].
        counts: of them, [n].
        of_validation: the same of the validation images, which choose the strength.
    """
    middle, deviation = features.mean(axis=0), features.std(axis=0)
    deviation[deviation == 0] = 1  # images of one size have as many cells
    scaled, mean = (features - middle) / deviation, counts.mean()
    lines = []
    for strength in STRENGTHS:
        square = scaled.T @ scaled + strength * np.eye(scaled.shape[1])
        weights = np.linalg.solve(square, scaled.T @ (counts - mean)) / deviation
        lines.append({"weights": weights.tolist(), "constant": float(mean - weights @ middle), "strength": strength})
    errors = [float(np.abs(predict(line, of_validation[0]) - of_validation[1]).mean()) for line in lines]
    return lines[int(np.argmin(errors))]


def predict(line: dict[str, Any], features: np.ndarray) -> np.ndarray:
    """Counts [n], none below 0, of features [n, C + 1]."""
    return np.maximum(0, features @ np.array(line["weights"]) + line["constant"])


def parameters_of(model: PreTrainedModel) -> dict[str, int]:
    """How many numbers a model has, and how many of them are trained."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"parameters": sum(size for size, _ in sizes), "trained": sum(size for size, learns in sizes if learns)}


def frozen_backbone(name: str, weights: str | None) -> tuple[torch.nn.Module, dict[str, list[float]]]:
    """A backbone with a map of stride 16, and the mean and the deviation of its pixels.

    Args:
        name: of timm.
        weights: as trainings take them; None is a random start, whose features tell something, too.
    """
    budget = Budget(backbone=name, backbone_weights=weights)
    config = AutoConfig.for_model(**backbone_fields(budget, (16,))["backbone_config"])
    backbone = AutoBackbone.from_config(config)
    drop_stages_behind_the_output(backbone)
    if weights is not None:
        load_backbone_weights(backbone, name, weights)
    return backbone.eval(), pixel_values(name, weights)
