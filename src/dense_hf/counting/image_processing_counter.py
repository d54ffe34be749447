"""Image processor of the counters of Table 2.3: whole images, or parts of them, in; one count per image out.

A method says what its network needs by settings (`config.processor_settings`), not by a class: sides that are
multiples of something, a shorter side within limits, gray or unnormalized pixels, parts that are counted alone and
added up. `CounterImageReader`, how pictures become pixels, is IOCFormer's, too.

N images; P parts of all images; Q proposals; n points; h x w density map of a part; K classes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tvF
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ChannelDimension,
    ImageInput,
    SizeDict,
)
from transformers.processing_utils import ImagesKwargs, Unpack
from transformers.utils import TensorType, logging

from .count_ranges import add_range, check_calibration, widths_of
from .counting_bounds import check_settings
from .picture_values import to_eight_bits
from .rgb_reading import MAX_PIXELS, WindowedPixels, channels_first, read_rgb, to_rgb
from .tile_merging import (
    ObjectCount,
    best_classes,
    check_finite,
    check_threshold,
    find_blobs,
    merge_parts,
    thresholds_of,
)
from .tiling import PART_SETTINGS, PartLayout, parts_at_once

logger = logging.get_logger(__name__)


class CounterImageReader(TorchvisionBackend):
    """Pictures of any kind as pixels [3, height, width], for every counter, and how sure it is of its counts."""

    do_convert_rgb = True
    count_calibration = None
    threshold: float | list[float] = 0.5

    def threshold_for(self, threshold: float | Sequence[float] | None) -> float | Sequence[float] | None:
        """The least score that counts if the caller says this; `None` where something else says how many points."""
        return self.threshold if threshold is None else threshold

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """Open paths and URLs with Pillow, not with torchvision: a path then counts like the image opened by hand."""
        if isinstance(image_url_or_urls, (list, tuple)):
            return [self.fetch_images(source) for source in image_url_or_urls]
        if isinstance(image_url_or_urls, str):
            return read_rgb(image_url_or_urls)
        if isinstance(image_url_or_urls, (np.ndarray, torch.Tensor)) and image_url_or_urls.ndim == 2:
            return image_url_or_urls[None]  # gray, which the base class would take for a list of lines
        return super().fetch_images(image_url_or_urls)

    def read_image(
        self,
        source: str | os.PathLike | Image.Image | np.ndarray | torch.Tensor,
        timeout: float | None = None,
        page: int | None = None,
        white: float | str | None = None,
    ) -> Image.Image:
        """A picture of any kind as upright 8-bit RGB, see `read_rgb`; `ValueError` names what cannot be read."""
        return read_rgb(source, timeout, page, white)

    def process_image(
        self,
        image: ImageInput,
        do_convert_rgb: bool | None = None,
        input_data_format: str | ChannelDimension | None = None,
        device: torch.device | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """One image of any kind -> [3, height, width], uint8 (or floats if floats came).

        Raises:
            ValueError: integers that are neither 8-bit nor unsigned 16-bit, a Pillow image of floats, or an array or
                tensor of floats that are not finite.
        """
        if isinstance(image, Image.Image) and do_convert_rgb:
            try:
                return channels_first(to_rgb(image)).to(device or "cpu")
            except ValueError as error:
                raise ValueError(f"An image must have 8 or 16 bits per channel. Received: {error}") from error
        pixels = super().process_image(image, do_convert_rgb, input_data_format, device, **kwargs)
        if pixels.dtype == torch.uint16:
            pixels = torch.from_numpy(to_eight_bits(pixels.cpu().numpy())).to(pixels.device)
        if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
            raise ValueError(f"Pixels must be uint8, uint16 or floats. Received: {pixels.dtype}")
        if pixels.is_floating_point() and not (finite := pixels.isfinite()).all():
            bad = int((~finite).sum())
            raise ValueError(f"Pixels must be finite. Received: an image with {bad} values that are NaN or infinite")
        return pixels

    def convert_to_rgb(
        self, image: torch.Tensor, input_data_format: str | ChannelDimension | None = None
    ) -> torch.Tensor:
        """Gray to three channels; of four the last is transparency, dropped as for files. `image` is [c, h, w]."""
        return super().convert_to_rgb(image[:3] if len(image) == 4 else image, input_data_format)

    def to_pixels(self, image: Any) -> Any:
        """One image (path, URL, PIL image, array, tensor) -> [3, height, width], uint8 (or floats if floats came).

        A picture that `reads_windows` becomes `WindowedPixels`: a window of it is a tensor.
        """
        if isinstance(image, WindowedPixels):
            return image
        if getattr(image, "reads_windows", False):
            return WindowedPixels(image)
        images = self._prepare_image_like_inputs(image, do_convert_rgb=self.do_convert_rgb)
        if len(images) != 1:
            raise ValueError(f"Expected one image. Received: {len(images)}")
        return images[0]


class CounterReaderKwargs(ImagesKwargs, total=False):
    r"""
    count_calibration (`dict`, *optional*, defaults to `self.count_calibration`):
        What `dense-hf calibrate` found out on annotated pictures: how wide ranges around counts are.
    """

    count_calibration: dict | None


class CounterImageProcessorKwargs(CounterReaderKwargs, total=False):
    r"""
    do_grayscale (`bool`, *optional*, defaults to `self.do_grayscale`):
        Whether the model sees one channel, the brightness.
    size_divisor (`int`, *optional*, defaults to `self.size_divisor`):
        What both sides are multiples of, by padding at the bottom and the right.
    resize_to_multiple (`bool`, *optional*, defaults to `self.resize_to_multiple`):
        Whether images are resized to the multiples below, instead of padding.
    min_short_side, max_short_side (`int`, *optional*, defaults to those of `self`):
        Images whose shorter side is outside of these are resized.
    parts_per_side (`int`, *optional*, defaults to `self.parts_per_side`):
        Into how many parts each side is cut.
    max_part_side (`int`, *optional*, defaults to `self.max_part_side`):
        The longest side of a part; longer sides are cut into equal parts.
    threshold (`float` or `list[float]`, *optional*, defaults to `self.threshold`):
        A proposal with a higher score is counted; one for all classes, or one for each.
    """

    do_grayscale: bool
    size_divisor: int
    resize_to_multiple: bool
    min_short_side: int | None
    max_short_side: int | None
    parts_per_side: int
    max_part_side: int | None
    threshold: float | list[float]


class CounterImageProcessor(CounterImageReader):
    r"""
    Prepares images of any size and mode for a counter, and makes counts of what it says.

    Args:
        do_rescale, do_normalize (`bool`, default to `True`): Whether pixels go to [0, 1], and then are normalized.
        image_mean, image_std (`list[float]`, defaults to those of ImageNet): Per channel, for pixels in [0, 1].
        do_grayscale (`bool`, defaults to `False`): Whether the model sees one channel.
        size_divisor (`int`, defaults to 1): What both sides are padded to multiples of, with 0 after normalization.
        resize_to_multiple (`bool`, defaults to `False`): Whether images are resized to multiples instead.
        min_short_side, max_short_side (`int`, *optional*): Limits of the shorter side; others are resized.
        parts_per_side (`int`, defaults to 1): 2 counts four quarters and adds them up.
        max_part_side (`int`, *optional*): Longer sides are cut into equal parts, which are added up.
        threshold (`float` or `list[float]`, defaults to 0.5): A proposal with a higher score is counted, by a model
            with proposals; one for all classes, or one for each.
        count_calibration (`dict`, *optional*): What `dense-hf calibrate` found out: how wide ranges around counts are.

    Example:

    ```python
    >>> processor = CounterImageProcessor(size_divisor=32)
    >>> inputs = processor(Image.new("RGB", (1920, 1080)), return_tensors="pt")
    >>> inputs["pixel_values"].shape, inputs["original_sizes"].tolist()
    (torch.Size([1, 3, 1088, 1920]), [[1080, 1920]])
    ```
    """

    valid_kwargs = CounterImageProcessorKwargs
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    do_grayscale = False
    size_divisor = 1
    resize_to_multiple = False
    min_short_side = None
    max_short_side = None
    parts_per_side = 1
    max_part_side = None

    def __init__(self, **kwargs: Unpack[CounterImageProcessorKwargs]):
        check_settings(type(self), kwargs)
        super().__init__(**kwargs)
        check_threshold(self.threshold)
        check_calibration(self.count_calibration)
        low, high = self.min_short_side, self.max_short_side
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_short_side must not be above max_short_side. Received: {low} and {high}")

    def tile_layout(self, height: int, width: int) -> PartLayout:
        """The parts of an image of this size."""
        return PartLayout(height, width, **{name: getattr(self, name) for name in PART_SETTINGS})

    def resize_image(self, pixels: Tensor) -> Tensor:
        """[c, height, width] at the size at which it is cut into parts; training crops are cut from that, too."""
        size = self.tile_layout(pixels.shape[-2], pixels.shape[-1]).resized
        if size == tuple(pixels.shape[-2:]):
            return pixels
        return self.resize(pixels, SizeDict(height=size[0], width=size[1]), resample=Image.Resampling.BICUBIC)

    def normalize_part(self, pixels: Tensor, **settings: Any) -> Tensor:
        """Pixels [3, h, w] as the model sees them, float [1 or 3, h, w]; training crops, too."""
        names = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "do_grayscale")
        chosen = {name: settings.get(name, getattr(self, name)) for name in names}
        if chosen["do_rescale"] and pixels.is_floating_point() and pixels.max() <= 1:
            logger.warning_once("Floats in [0, 1] are multiplied by rescale_factor like bytes; set do_rescale=False.")
        if chosen.pop("do_grayscale"):
            pixels = tvF.rgb_to_grayscale(pixels)
            if chosen["do_normalize"] and not isinstance(chosen["image_mean"], int | float):
                chosen["image_mean"], chosen["image_std"] = chosen["image_mean"][:1], chosen["image_std"][:1]
        return self.rescale_and_normalize(pixels, **chosen).float()

    def iter_parts(self, pixels: Tensor | WindowedPixels, **settings: Any) -> Iterator[Tensor]:
        """The parts of an image [3, height, width], normalized and padded, [1 or 3, h, w] each.

        Raises:
            ValueError: a picture that is read by windows, and would have to be resized or seen whole.
        """
        layout = self.tile_layout(pixels.shape[-2], pixels.shape[-1])
        if isinstance(pixels, WindowedPixels):
            largest = max(height * width for _, _, height, width in layout.boxes)
            if layout.resized != tuple(pixels.shape[-2:]) or largest > MAX_PIXELS:
                raise ValueError(
                    "A picture that is read by windows must be counted in parts that are not resized; `max_part_side` "
                    "without limits of the shorter side and without resize_to_multiple (--part-side 1024) does so. "
                    f"Received: {layout.width} x {layout.height}, as {layout.resized[1]} x {layout.resized[0]} in "
                    f"{len(layout)} parts of up to {largest:,} pixels"
                )
            resized = pixels
        else:
            resized = self.resize_image(pixels)
        for index, (top, left, height, width) in enumerate(layout.boxes):
            part = self.normalize_part(resized[:, top : top + height, left : left + width], **settings)
            yield _padded(part, layout.padded(index))

    def _preprocess(  # ty: ignore[incompatible-method-override]  each processor names what it uses, as upstream
        self, images: list[Tensor], return_tensors: str | TensorType | None, **settings: Any
    ) -> BatchFeature:
        if changed := [
            name for name in PART_SETTINGS if settings.get(name, getattr(self, name)) != getattr(self, name)
        ]:
            # they say where parts lie, which merging must know, too
            raise ValueError(f"{', '.join(changed)} must be given to the processor, not to a call")
        parts = [part for pixels in images for part in self.iter_parts(pixels, **settings)]
        size = max(part.shape[-2] for part in parts), max(part.shape[-1] for part in parts)
        data = {
            "pixel_values": torch.stack([_padded(part, size) for part in parts]),
            "pixel_mask": torch.stack([_padded(torch.ones(part.shape[-2:]).long(), size) for part in parts]),
            "original_sizes": torch.tensor([pixels.shape[-2:] for pixels in images]),
        }
        return BatchFeature(data, tensor_type=return_tensors)

    def find_points(self, outputs: Any, threshold: float | Sequence[float]) -> list[tuple[Tensor, ...]] | None:
        """Points [n, 2] (x, y) as fractions of the input, and scores [n], of each row; `None` of a density counter.

        A proposal counts if the probability of its best class is above the threshold (softmax of `logits` [P, Q, 1 +
        K]), a blob is where that of pixels is (sigmoid of `blob_logits` [P, 1, h, w]). A method whose points are made
        otherwise overrides this. Of a model with several classes, the class [n] of each point is the third.
        """
        if (blob_logits := _get(outputs, "blob_logits")) is not None:
            check_finite("blob_logits", blob_logits)
            limit = float(thresholds_of(threshold, 1)[0])
            return [find_blobs(one.float().sigmoid().cpu(), limit) for one in blob_logits[:, 0]]
        logits, points = _get(outputs, "logits"), _get(outputs, "pred_points")
        if logits is None or points is None:
            return None
        check_finite("logits", logits)
        scores = logits.float().softmax(dim=-1).cpu()
        rows = zip(points.float().cpu(), *best_classes(scores, threshold, at_least=False))
        return [(xy[counts, :2], score[counts], kind[counts]) for xy, counts, score, kind in rows]

    def post_process_object_counting(
        self,
        outputs: Any,
        target_sizes: Tensor | list[tuple[int, int]],
        threshold: float | Sequence[float] | None = None,
        return_density_map: bool | None = False,
    ) -> list[ObjectCount]:
        """From the model's outputs for the parts of images to one count per image.

        Args:
            outputs: what the model gave for `pixel_values` of one call of the processor.
            target_sizes: [N, 2] (height, width) of the images, as in `original_sizes`.
            threshold: proposals with a higher score count; default is the processor's.
            return_density_map: adds "density_map" [height, width] to each result; `None`: if there is one.

        Raises:
            ValueError: rows that do not fit the sizes, outputs that are not finite, a map of a model without one, or
                a threshold for a model without points.
        """
        layouts = [self.tile_layout(int(height), int(width)) for height, width in target_sizes]
        sizes = [layout.padded(part) for layout in layouts for part in range(len(layout))]
        size = max(height for height, _ in sizes), max(width for _, width in sizes)
        rows = self._rows(outputs, size, threshold)
        if len(rows) != len(sizes):
            raise ValueError(f"Images of these sizes have {len(sizes)} parts. Received: outputs of {len(rows)}")
        results = []
        for layout in layouts:
            results.append(merge_parts(layout, rows[: len(layout)], return_density_map))
            rows = rows[len(layout) :]
        return results

    def count_objects(
        self,
        model: torch.nn.Module,
        image: ImageInput,
        threshold: float | Sequence[float] | None = None,
        batch_size: int = 8,
        return_density_map: bool | None = False,
        on_batch: Callable[[int], object] | None = None,
        on_density: Callable[[Tensor], object] | None = None,
        level: float | None = None,
    ) -> ObjectCount:
        """Count the objects of one image of any size.

        Args:
            model: any counter; it is in evaluation mode during the call.
            image: anything that the processor takes.
            threshold: proposals with a higher score count; default is the processor's.
            batch_size: parts of one size per forward pass; of large ones fewer (`parts_at_once`).
            return_density_map: adds "density_map" to the result; `None`: if the model has one.
            on_batch: called with the number of parts after each forward pass, for a progress bar.
            on_density: called with strips [rows, width] of the density map from top to bottom, if the model has one.
            level: of the range around the count, such as 0.9; default is the calibration's, if there is one.

        Raises:
            ValueError: a threshold outside [0, 1], or for a model without points, `batch_size` below 1, an image that
                is none, outputs that are not finite, or a level that was not calibrated.
        """
        check_threshold(self.threshold if threshold is None else threshold)
        widths = widths_of(self, level, threshold)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1. Received: {batch_size}")
        parameter = next(model.parameters(), torch.empty(0))
        pixels = self.to_pixels(image)
        layout = self.tile_layout(pixels.shape[-2], pixels.shape[-1])

        def rows() -> Iterator[dict[str, Any]]:
            for shape, group in groupby(self.iter_parts(pixels), key=lambda part: part.shape):
                number = parts_at_once(batch_size, *shape[-2:])
                while parts := list(islice(group, number)):
                    batch = torch.stack(parts)
                    yield from self._rows(model(pixel_values=batch.to(parameter)), batch.shape[-2:], threshold)
                    if on_batch is not None:
                        on_batch(len(batch))

        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                result = merge_parts(layout, rows(), return_density_map, on_density)
        finally:
            model.train(was_training)
        if widths is not None:
            add_range(result, pixels, widths, self)
        return result

    def _rows(
        self, outputs: Any, size: Sequence[int], threshold: float | Sequence[float] | None
    ) -> list[dict[str, Any]]:
        """What the outputs say of each part: `size` of the input, `found` points and scores, `density` [K, h, w]."""
        asked, threshold = threshold, self.threshold if threshold is None else threshold
        check_threshold(threshold)
        density, found = _get(outputs, "density_map"), self.find_points(outputs, threshold)
        if found is None and asked is not None:
            raise ValueError(f"A threshold is for scores of points, a density map has none. Received: {asked}")
        check_finite("density_map", density)
        rows = found if density is None else density
        if rows is None:
            raise ValueError("Counting needs logits and pred_points, or a density_map. Received: neither")
        logits = _get(outputs, "logits")
        outputs_of_classes = None if logits is None else logits.shape[-1] - 1
        return [
            {
                "size": tuple(size),
                "found": None if found is None else found[row],
                "density": None if density is None else density[row].detach().float().cpu(),
                "num_classes": 1 if outputs_of_classes is None else outputs_of_classes,
            }
            for row in range(len(rows))
        ]


def _padded(pixels: Tensor, size: Sequence[int]) -> Tensor:
    return F.pad(pixels, (0, size[1] - pixels.shape[-1], 0, size[0] - pixels.shape[-2]))


def _get(outputs: Any, name: str) -> Tensor | None:
    return outputs.get(name) if isinstance(outputs, dict) else getattr(outputs, name, None)


__all__ = ["CounterImageProcessor"]
