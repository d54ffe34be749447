"""Count every image of a split, with any number of processes, and compare with the annotation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate.utils import gather_object
from transformers import PreTrainedModel

from ..metrics.counting import CountingMetrics
from ..metrics.localization import LocalizationMetrics, count_matches
from .class_names import counted_classes
from .evaluation_records import EvaluationRecord
from .finite_outputs import judging, require_finite
from .shares import each_of_share

if TYPE_CHECKING:
    from ..counting.image_processing_iocformer import IOCFormerImageProcessor
    from ..data.counting_examples import CountingExample

# Scores that `choose_threshold` tries. Below the first one, nearly all queries count.
THRESHOLDS = np.round(np.arange(0.1, 0.9001, 0.025), 3)
RELEASED_THRESHOLD = 0.35
CLASS_METRICS = ("mae", "mse", "nae")


def evaluate_counting(
    model: PreTrainedModel,
    processor: "IOCFormerImageProcessor",
    examples: Sequence["CountingExample"],
    threshold: float | Sequence[float] | None = None,
    batch_size: int = 8,
    progress: bool = True,
    description: str = "Counting",
    record: EvaluationRecord | None = None,
    distances: Sequence[float] = (),
) -> dict[str, float]:
    """MAE, MSE (the root, as in the tables) and NAE over whole images; F1 of points if distances are given.

    Of a model with several classes, the same three of each class, too, as "mae/NAME" and so on; a point must have the
    class of the annotated one that it is matched with.

    Each process counts every n-th image; the pairs of all are gathered with the index of their image. There is no
    sampler that could repeat images to even out the shares, so the numbers do not depend on the number of processes.

    Args:
        model: On its device. All processes hold the same weights.
        processor: Its `count_objects` is how the model counts.
        examples: The images, the same list in every process; with classes, if the model has several.
        threshold: Least score that counts. None is the processor's.
        batch_size: Tiles per forward pass.
        progress: Whether process 0 shows a bar.
        description: Text of the bar.
        record: What an evaluation that was stopped has counted; it gets the rest.
        distances: In pixels: how far a point may be from an annotated one that it is matched with. Of a model without
            points there is nothing to match.

    Returns:
        The same in every process: what `CountingMetrics` and `LocalizationMetrics` compute.

    Raises:
        InvalidDataError: an image that cannot be used.
        ValueError: outputs of the model that are not finite.
    """
    options: dict[str, Any] = {"batch_size": batch_size} | ({} if threshold is None else {"threshold": threshold})
    record = record or EvaluationRecord(None, {})
    names = counted_classes(model.config)
    annotated_counts = [example.counts(max(1, len(names))) for example in examples]
    counts = []
    for index in each_of_share(range(len(examples)), description, "image", progress):
        item = f"{description}/{index}"
        if (known := record.get(item)) is None:
            image = examples[index].open()
            with judging(examples[index].path, model):
                result = processor.count_objects(model, image, **options)
                require_finite(result["exact_count"])
            # a model without points is judged by the sum of its density map as it is, not rounded to whole objects
            known = {"count": result["exact_count"]}
            if names:
                known["classes"] = result["class_counts" if result["has_points"] else "class_density_counts"]
            if distances and result["has_points"]:
                known["matches"] = [_matches(result, examples[index], distance, names) for distance in distances]
            record.add(item, known)
        counts.append((index, known))
    by_index = dict(gather_object(counts))
    metrics = CountingMetrics()
    references = [sum(of_classes) for of_classes in annotated_counts]
    metrics.update([by_index[i]["count"] for i in range(len(examples))], references)
    results = metrics.compute()
    for number, name in enumerate(names):
        of_class = CountingMetrics()
        predicted = [by_index[i]["classes"][number] for i in range(len(examples))]
        of_class.update(predicted, [of_classes[number] for of_classes in annotated_counts])
        results |= {f"{key}/{name}": value for key, value in of_class.compute().items() if key in CLASS_METRICS}
    if distances and all("matches" in known for known in by_index.values()):
        state = [[int(by_index[i]["count"]), number, *by_index[i]["matches"]] for i, number in enumerate(references)]
        results |= LocalizationMetrics(distances).merge(np.array(state)).compute()
    return results


def _matches(result: Any, example: "CountingExample", distance: float, names: Sequence[str]) -> int:
    """How many points are at most so far from an annotated one of their class."""
    found, annotated = result["points"].numpy().astype(float), example.points.astype(float)
    if not names or example.classes is None:
        return count_matches(found, annotated, distance)
    pairs = ((found[result["classes"].numpy() == k], annotated[example.classes == k]) for k in range(len(names)))
    return sum(count_matches(*both, distance) for both in pairs)


def choose_threshold(
    model: PreTrainedModel,
    processor: "IOCFormerImageProcessor",
    examples: Sequence["CountingExample"],
    batch_size: int = 8,
    progress: bool = True,
) -> float | list[float]:
    """The least score at which the counts of images, those of the training, are best on average.

    The released 0.35 is that of a long training on thousands of images. After a short one on few, the scores at which
    counts are right were between .3 and .5 (measured), and other images tell which.

    Args:
        model: On its device, the same weights in all processes.
        processor: As in [`evaluate_counting`].
        examples: The images.
        batch_size: Tiles per forward pass.
        progress: Whether process 0 shows a bar.

    Returns:
        Among 0.1, 0.125, ... 0.9; of equally good ones, the one next to 0.35. One for each class of a model with
        several. The same in every process.

    Raises:
        ValueError: the model has no points.
    """
    errors, number = [], max(1, len(counted_classes(model.config)))
    for index in each_of_share(range(len(examples)), "Choosing a threshold", "image", progress):
        image = examples[index].open()
        with judging(examples[index].path, model):
            result = processor.count_objects(model, image, threshold=float(THRESHOLDS[0]), batch_size=batch_size)
        if not result["has_points"]:
            raise ValueError(f"A threshold is chosen for scores of points. Received: {type(model).__name__} without")
        passes = result["scores"].numpy()[:, None] >= THRESHOLDS.astype(np.float32)
        of_class = result["classes"].numpy() == np.arange(number)[:, None]  # [K, n]
        annotated = np.array(examples[index].counts(number))[:, None]
        errors.append(np.abs(of_class.astype(int) @ passes - annotated))
    best = [
        min(range(len(THRESHOLDS)), key=lambda i: (total[i], abs(THRESHOLDS[i] - RELEASED_THRESHOLD)))
        for total in np.sum(gather_object(errors), axis=0)
    ]
    chosen = [float(THRESHOLDS[one]) for one in best]
    return chosen if number > 1 else chosen[0]
