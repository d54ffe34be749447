"""Count every image of a split, with any number of processes, and compare with the reference counts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from accelerate.utils import gather_object
from transformers import PreTrainedModel

from ..metrics.counting import CountingMetrics
from .shares import each_of_share

if TYPE_CHECKING:
    from ..counting.image_processing_iocformer import IOCFormerImageProcessor
    from ..data.counting_examples import CountingExample


def evaluate_counting(
    model: PreTrainedModel,
    processor: "IOCFormerImageProcessor",
    examples: Sequence["CountingExample"],
    threshold: float = 0.35,
    batch_size: int = 8,
    progress: bool = True,
    description: str = "Counting",
) -> dict[str, float]:
    """MAE, MSE (the root, as in the tables) and NAE over whole images.

    Each process counts every n-th image; the pairs of all are gathered with the index of their image. There is no
    sampler that could repeat images to even out the shares, so the numbers do not depend on the number of processes.

    Args:
        model: On its device. All processes hold the same weights.
        processor: Its `count_objects` is how the model counts.
        examples: The images, the same list in every process.
        threshold: Least score that counts.
        batch_size: Tiles per forward pass.
        progress: Whether process 0 shows a bar.
        description: Text of the bar.

    Returns:
        The same in every process: what `CountingMetrics` computes.
    """
    counts = []
    for index in each_of_share(range(len(examples)), description, "image", progress):
        image = examples[index].open()
        result = processor.count_objects(model, image, threshold=threshold, batch_size=batch_size)
        # a model without points is judged by the sum of its density map as it is, not rounded to whole objects
        counts.append((index, result["exact_count"]))
    by_index = dict(gather_object(counts))
    metrics = CountingMetrics()
    metrics.update([by_index[i] for i in range(len(examples))], [len(example.points) for example in examples])
    return metrics.compute()
