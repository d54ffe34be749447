"""Image processor of IOCFormer: images in, tiles out; the model's outputs in, points out (thesis section 2.5.1).

`count_objects` is the whole way, tiles -> model -> points, which pipeline, command line and evaluation share.

Built on the torchvision backend of transformers: torchvision is a dependency anyway, tiles are cut as views of one
uint8 tensor, and images that are tensors already are not copied through numpy. Nothing is resized, so there is nothing
in which the PIL backend could differ, and no second class for it.

Shape letters: N images; T tiles of all images; S tile size; Q queries; n points; g cells of the density map of a tile.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageInput
from transformers.processing_utils import Unpack
from transformers.utils import TensorType, logging

from .count_ranges import add_range, check_calibration, widths_of
from .counting_bounds import check_settings
from .image_processing_counter import CounterImageReader, CounterReaderKwargs
from .rgb_reading import WindowedPixels
from .tile_merging import ObjectCount, TileMerger, check_threshold, merge_tiles
from .tiling import TileLayout, cut_tiles, tile_spans

if TYPE_CHECKING:
    from transformers.image_utils import ImageInput

    pass

logger = logging.get_logger(__name__)
COUNT_BY = ("threshold", "density")


class IOCFormerImageProcessorKwargs(CounterReaderKwargs, total=False):
    r"""
    tile_size (`int`, *optional*, defaults to `self.tile_size`):
        Side in pixels of the square tiles.
    tile_overlap (`int`, *optional*, defaults to `self.tile_overlap`):
        Pixels that neighbouring tiles share. 0 is the released tiling; each point has one owner with any value.
    threshold (`float` or `list[float]`, *optional*, defaults to `self.threshold`):
        The least score that counts, of all classes or of each, where the caller names none. 0.35 is released.
    count_by (`str`, *optional*, defaults to `self.count_by`):
        What says how many points there are: `"threshold"` (released) or `"density"`.
    """

    tile_size: int
    tile_overlap: int
    threshold: float | list[float]
    count_by: str


class IOCFormerImageProcessor(CounterImageReader):
    r"""
    Cuts images of any size and mode into tiles and puts the points of all tiles back.

    Args:
        tile_size (`int`, defaults to 256): Side in pixels of the square tiles.
        tile_overlap (`int`, defaults to 0): Pixels that neighbouring tiles share.
        threshold (`float` or `list[float]`, defaults to 0.35): The least score that counts, of all classes or of each.
            A training may choose another.
        count_by (`str`, defaults to `"threshold"`): Where the caller names no threshold, points count from `threshold`
            on, as released; or, with `"density"`, each tile has as many points as its density, those with the best
            scores. A deviation, see `tile_merging.py`; it needs both branches.
        do_rescale (`bool`, defaults to `True`): Whether pixels are multiplied by `rescale_factor`.
        rescale_factor (`float`, defaults to `1/255`): From bytes to [0, 1].
        do_normalize (`bool`, defaults to `True`): Whether `image_mean` and `image_std` are applied.
        image_mean, image_std (`list[float]`, defaults to those of ImageNet): Per channel, for pixels in [0, 1].
        count_calibration (`dict`, *optional*): What `dense-hf calibrate` found out: how wide ranges around counts are.

    Example:

    ```python
    >>> processor = IOCFormerImageProcessor()
    >>> inputs = processor([Image.new("RGB", (1920, 1080)), Image.new("L", (100, 50))], return_tensors="pt")
    >>> inputs["pixel_values"].shape, inputs["original_sizes"].tolist()
    (torch.Size([41, 3, 256, 256]), [[1080, 1920], [50, 100]])
    ```
    """

    valid_kwargs = IOCFormerImageProcessorKwargs
    tile_size = 256
    tile_overlap = 0
    threshold: float | list[float] = 0.35
    count_by = "threshold"
    do_convert_rgb = True
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD

    def __init__(self, **kwargs: Unpack[IOCFormerImageProcessorKwargs]):
        check_settings(type(self), kwargs)
        super().__init__(**kwargs)
        self._validate_preprocess_kwargs(tile_size=self.tile_size, tile_overlap=self.tile_overlap)
        check_threshold(self.threshold)
        if self.count_by not in COUNT_BY:
            raise ValueError(f"count_by must be one of {', '.join(COUNT_BY)}. Received: {self.count_by}")
        check_calibration(self.count_calibration)

    def _validate_preprocess_kwargs(self, *args: Any, tile_size: int = 256, tile_overlap: int = 0, **kwargs: Any):
        tile_spans(1, tile_size, tile_overlap)
        super()._validate_preprocess_kwargs(*args, **kwargs)

    def threshold_for(self, threshold: float | Sequence[float] | None) -> float | Sequence[float] | None:
        """The least score that counts if the caller says this; `None` where the density says how many points."""
        if threshold is not None:
            return threshold
        return None if self.count_by == "density" else self.threshold

    def tile_layout(self, height: int, width: int) -> TileLayout:
        """Where the tiles of an image of this size lie."""
        return TileLayout(height, width, self.tile_size, self.tile_overlap)

    def iter_tiles(self, image: ImageInput, batch_size: int = 8) -> Iterator[torch.Tensor]:
        """Yield batches [<= batch_size, 3, S, S] of the tiles of one image, row by row.

        Only one batch at a time exists as floats, so a photo of 6000 x 4000 pixels needs megabytes, not gigabytes.

        Raises:
            ValueError: `batch_size` below 1, or an image that is none.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1. Received: {batch_size}")
        pixels = self.to_pixels(image)
        layout = self.tile_layout(height=pixels.shape[-2], width=pixels.shape[-1])
        for first in range(0, len(layout), batch_size):
            yield self._normalized_tiles(
                pixels,
                layout,
                range(first, min(first + batch_size, len(layout))),
                do_rescale=self.do_rescale,
                rescale_factor=self.rescale_factor,
                do_normalize=self.do_normalize,
                image_mean=self.image_mean,
                image_std=self.image_std,
            )

    def _normalized_tiles(
        self, pixels: torch.Tensor | WindowedPixels, layout: TileLayout, indices: range, **normalization: Any
    ) -> torch.Tensor:
        """[3, height, width] -> [len(indices), 3, S, S]. The padding is 0 after normalisation: the mean colour."""
        if (
            normalization["do_rescale"]
            and isinstance(pixels, torch.Tensor)
            and pixels.is_floating_point()
            and pixels.max() <= 1
        ):
            logger.warning_once("Floats in [0, 1] are multiplied by rescale_factor like bytes; set do_rescale=False.")
        size = layout.tile_size
        tiles = torch.zeros(len(indices), pixels.shape[0], size, size, device=pixels.device)
        for tile, view in zip(tiles, cut_tiles(pixels, layout, indices.start, indices.stop)):
            top, left = size - view.shape[-2], size - view.shape[-1]
            tile[:, top:, left:] = self.rescale_and_normalize(view, **normalization)
        return tiles

    def _preprocess(  # ty: ignore[incompatible-method-override]  each processor names what it uses, as upstream
        self,
        images: list[torch.Tensor],
        tile_size: int,
        tile_overlap: int,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: float | list[float] | None,
        image_std: float | list[float] | None,
        return_tensors: str | TensorType | None,
        **kwargs: Any,
    ) -> BatchFeature:
        tiles = []
        for pixels in images:
            layout = TileLayout(pixels.shape[-2], pixels.shape[-1], tile_size, tile_overlap)
            tiles.append(
                self._normalized_tiles(
                    pixels,
                    layout,
                    range(len(layout)),
                    do_rescale=do_rescale,
                    rescale_factor=rescale_factor,
                    do_normalize=do_normalize,
                    image_mean=image_mean,
                    image_std=image_std,
                )
            )
        sizes = torch.tensor([pixels.shape[-2:] for pixels in images])
        return BatchFeature({"pixel_values": torch.cat(tiles), "original_sizes": sizes}, tensor_type=return_tensors)

    def post_process_object_counting(
        self,
        outputs: Any,
        target_sizes: torch.Tensor | list[tuple[int, int]] | None = None,
        threshold: float | Sequence[float] | None = None,
        return_density_map: bool = False,
    ) -> list[ObjectCount]:
        """From the model's outputs for tiles to one count per image.

        Args:
            outputs: anything with `logits` [T, Q, K + 1], `pred_points` [T, Q, >= 2], `density_map` [T, K, g, g] as
                attributes or keys, for all tiles of all images in order. What the model has no branch for is `None`.
            target_sizes: [N, 2] (height, width) of the images, as in `original_sizes`. Without it, each row is an
                image of one tile.
            threshold: the least score that counts; None is what the processor says (released: 0.35).
            return_density_map: adds "density_map" [height, width] to each result.

        Returns:
            One [`ObjectCount`] per image: "count", "points" [n, 2] (x, y) in pixels of the image, "scores" [n],
            "density_count", "tile_counts" and "crowded_tiles".

        Raises:
            ValueError: rows that do not fit the sizes, or outputs that are not finite.
        """
        fields = {}
        for name in ("logits", "pred_points", "density_map"):
            fields[name] = outputs.get(name) if isinstance(outputs, dict) else getattr(outputs, name, None)
        rows = next((len(values) for values in fields.values() if values is not None), 0)
        if target_sizes is None:
            target_sizes = [(self.tile_size, self.tile_size)] * rows
        layouts = [self.tile_layout(int(height), int(width)) for height, width in target_sizes]
        if sum(map(len, layouts)) != rows:
            raise ValueError(
                f"{len(layouts)} images of these sizes have {sum(map(len, layouts))} tiles of {self.tile_size} pixels "
                f"with an overlap of {self.tile_overlap}. Received: outputs of {rows} tiles"
            )
        threshold = self.threshold_for(threshold)
        results, first = [], 0
        for layout in layouts:
            own = {
                name: None if values is None else values[first : first + len(layout)]
                for name, values in fields.items()
            }
            results.append(
                merge_tiles(layout, **own, threshold=threshold, return_density_map=return_density_map),
            )
            first += len(layout)
        return results

    def count_objects(self, model: torch.nn.Module, image: ImageInput, **kwargs: Any) -> ObjectCount:
        """Count one image of any size with `model`; the keywords are those of `count_image`.

        A method, because a pipeline that was loaded beside a checkpoint reaches this code through its processor only.
        """
        return count_image(model, self, image, **kwargs)


__all__ = ["IOCFormerImageProcessor"]


def count_image(
    model: torch.nn.Module,
    processor: "IOCFormerImageProcessor",
    image: "ImageInput",
    threshold: float | Sequence[float] | None = None,
    batch_size: int = 8,
    return_density_map: bool | None = False,
    on_batch: Callable[[int], object] | None = None,
    on_density: Callable[[torch.Tensor], object] | None = None,
    level: float | None = None,
) -> ObjectCount:
    """Count the objects of one image of any size, in memory that does not grow with floats of the whole image.

    Only `batch_size` tiles exist as floats at a time. What is kept of them are the points that count and, if its map
    is wanted, the small density map of each tile (4 KB at the released sizes).

    Args:
        model: any counter whose output has `logits` and `pred_points`, or a `density_map`. It is in evaluation mode
            during the call.
        processor: cuts the image and merges the outputs.
        image: anything that the processor takes.
        threshold: the least score that counts; None is what the processor says (released: 0.35).
        batch_size: tiles per forward pass.
        return_density_map: adds "density_map" to the result; `None`: if the model has one.
        on_batch: called with the number of tiles after each forward pass, for a progress bar.
        on_density: called with strips [rows, width] of the density map from top to bottom, if the model has one.
        level: of the range around the count, such as 0.9; default is the calibration's, if there is one.

    Raises:
        ValueError: a threshold outside [0, 1], `batch_size` below 1, an image that is none, outputs that are not
            finite, or a level that was not calibrated.
    """
    widths = widths_of(processor, level, threshold)
    threshold = processor.threshold_for(threshold)
    parameter = next(model.parameters(), torch.empty(0))
    pixels = processor.to_pixels(image)
    layout = processor.tile_layout(height=pixels.shape[-2], width=pixels.shape[-1])
    merger = TileMerger(layout, threshold, keep_maps=return_density_map is not False or on_density is not None)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for pixel_values in processor.iter_tiles(pixels, batch_size):
                output = model(pixel_values=pixel_values.to(parameter))
                merger.add(*(getattr(output, name, None) for name in ("logits", "pred_points", "density_map")))
                if on_batch is not None:
                    on_batch(len(pixel_values))
    finally:
        model.train(was_training)
    result = merger.merge(return_density_map, on_density)
    if widths is not None:
        add_range(result, pixels, widths, processor)
    return result
