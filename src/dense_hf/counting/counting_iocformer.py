"""Count one image: the loop tiles -> model -> points that the pipeline, the command line and the evaluation share."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from .merging_iocformer import ObjectCount, check_threshold, merge_tiles

if TYPE_CHECKING:
    from transformers.image_utils import ImageInput

    from .image_processing_iocformer import IOCFormerImageProcessor


def count_image(
    model: torch.nn.Module,
    processor: "IOCFormerImageProcessor",
    image: "ImageInput",
    threshold: float = 0.35,
    batch_size: int = 8,
    return_density_map: bool = False,
    on_batch: Callable[[int], object] | None = None,
) -> ObjectCount:
    """Count the objects of one image of any size, in memory that does not grow with floats of the whole image.

    Only `batch_size` tiles exist as floats at a time. What is kept of each tile are its points and its small density
    map (28 KB and 4 KB at the released sizes).

    Args:
        model: an `IOCFormerForObjectCounting`. It is in evaluation mode during the call.
        processor: cuts the image and merges the outputs.
        image: anything that the processor takes.
        threshold: the least score that counts; 0.35 is the released value.
        batch_size: tiles per forward pass.
        return_density_map: adds "density_map" to the result.
        on_batch: called with the number of tiles after each forward pass, for a progress bar.

    Raises:
        ValueError: a threshold outside [0, 1], `batch_size` below 1, an image that is none, or outputs that are not
            finite.
    """
    check_threshold(threshold)
    parameter = next(model.parameters(), torch.empty(0))
    outputs: dict[str, list[torch.Tensor]] = {"logits": [], "pred_points": [], "density_map": []}
    pixels = processor.to_pixels(image)
    layout = processor.tile_layout(height=pixels.shape[-2], width=pixels.shape[-1])
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for pixel_values in processor.iter_tiles(pixels, batch_size):
                output = model(pixel_values=pixel_values.to(parameter))
                for name, kept in outputs.items():
                    value = getattr(output, name, None)
                    if value is not None:
                        kept.append(value.float().cpu())
                if on_batch is not None:
                    on_batch(len(pixel_values))
    finally:
        model.train(was_training)
    logits, pred_points, density_map = (torch.cat(kept) if kept else None for kept in outputs.values())
    return merge_tiles(layout, logits, pred_points, density_map, threshold, return_density_map)
