"""Image processors of models that segment video: clips of frames in, class maps of the target frames out.

Frames are prepared as the released code does for the test (thesis sections 4.4.1 and 5.4.1).

B clips, T frames of a clip, K labels. Built on the torchvision backend of transformers for the reason that
the resizing of the released code, bilinear without antialiasing, exists there.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torchvision.transforms.v2 import InterpolationMode
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ChannelDimension,
    ImageInput,
    PILImageResampling,
    SizeDict,
)
from transformers.processing_utils import ImagesKwargs, Unpack
from transformers.utils import TensorType

from .largest_class import largest_class
from .video_bounds import check_settings


class ClipImageProcessorKwargs(ImagesKwargs, total=False):
    r"""
    size_divisor (`int`, *optional*, defaults to `self.size_divisor`):
        After `size`, both sides are resized up to multiples of it. 1 leaves them.
    do_reduce_labels (`bool`, *optional*, defaults to `self.do_reduce_labels`):
        Whether labels are lowered by one and 0 becomes the ignored 255, as VSPW's files need it.
    """

    size_divisor: int
    do_reduce_labels: bool


class ClipImageProcessor(TorchvisionBackend):
    r"""
    Resizes and normalises clips, and turns logits into class maps.

    Args:
        size (`dict`, defaults to `{"shortest_edge": 480, "longest_edge": 853}`):
            What the sides may be at most; frames are enlarged or shrunk until one of them is reached.
        size_divisor (`int`, defaults to 32): After that, both sides are resized up to multiples of it.
        do_reduce_labels (`bool`, defaults to `False`): Whether labels are lowered by one, 0 becoming 255.
        do_resize, do_rescale, do_normalize (`bool`, default to `True`): Which steps are taken.
        image_mean, image_std (`list[float]`, defaults to those of ImageNet): Per channel, for pixels in [0, 1].
    """

    valid_kwargs = ClipImageProcessorKwargs
    resample = PILImageResampling.BILINEAR
    size = {"shortest_edge": 480, "longest_edge": 853}
    default_to_square = False
    size_divisor = 32
    do_resize = True
    do_convert_rgb = True
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    do_reduce_labels = False
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD

    def __init__(self, **kwargs: Unpack[ClipImageProcessorKwargs]):
        check_settings(type(self), kwargs)
        super().__init__(**kwargs)

    def preprocess(
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None = None,
        **kwargs: Unpack[ClipImageProcessorKwargs],
    ) -> BatchFeature:
        """Prepare clips.

        Args:
            images: A batch of clips: a list of lists of frames. One list of frames, or an array or tensor of 4
                dimensions, is one clip; a single image is a clip of one frame. Frames of one clip have one size, and
                all clips have as many frames and end with the same size.
            segmentation_maps: Maps of classes, nested like `images`.

        Returns:
            `pixel_values` [B, T, 3, height, width] and, with `segmentation_maps`, `labels` [B, T, height, width].

        Raises:
            ValueError: clips that do not fit together.
        """
        return super().preprocess(images, segmentation_maps, **kwargs)

    def _preprocess_image_like_inputs(  # ty: ignore[incompatible-method-override]  as upstream
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None,
        do_convert_rgb: bool,
        input_data_format: ChannelDimension,
        return_tensors: str | TensorType | None,
        device: torch.device | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        clips = self._clips(images, 3, do_convert_rgb, input_data_format, device)
        data = {"pixel_values": [self._preprocess(frames, **kwargs) for frames in clips]}
        if segmentation_maps is not None:
            maps = self._clips(segmentation_maps, 2, False, ChannelDimension.FIRST, device)
            if [len(clip) for clip in maps] != [len(clip) for clip in clips]:
                raise ValueError(
                    f"There must be one segmentation map per frame: {[len(clip) for clip in clips]} frames. "
                    f"Received: {[len(clip) for clip in maps]} maps"
                )
            data["labels"] = [self._preprocess_labels(clip, **kwargs) for clip in maps]
        for name, batch in data.items():
            if len({clip.shape for clip in batch}) > 1:
                raise ValueError(
                    "All clips of a batch must have as many frames and end with the same size. "
                    f"Received: {name} of {[list(clip.shape) for clip in batch]}"
                )
            data[name] = torch.stack(batch)  # ty: ignore[invalid-argument-type]  a list of tensors
        return BatchFeature(data=data, tensor_type=return_tensors)

    def _clips(
        self, images: Any, ndims: int, convert: bool, data_format: ChannelDimension | None, device: Any
    ) -> list[torch.Tensor]:
        """Clips as tensors [T, c, height, width], whatever the nesting."""
        clips = []
        for clip in self._as_batch(images, ndims):
            frames = self._prepare_image_like_inputs(
                clip, do_convert_rgb=convert, input_data_format=data_format, device=device, expected_ndims=ndims
            )
            bad = [int((~frame.isfinite()).sum()) for frame in frames if frame.is_floating_point()]
            if any(bad):
                raise ValueError(f"Pixels must be finite. Received: frames with {bad} values that are NaN or infinite")
            if len({frame.shape for frame in frames}) > 1:
                sizes = [list(frame.shape[-2:]) for frame in frames]
                raise ValueError(f"Frames of a clip must have one size. Received: {sizes}")
            clips.append(torch.stack(frames))
        return clips

    def _as_batch(self, images: Any, ndims: int) -> list[Any]:
        """A list with one entry per clip: a list of frames."""
        if hasattr(images, "ndim"):
            images = [*images] if images.ndim > ndims + 1 else [images]
        elif not isinstance(images, (list, tuple)):
            images = [[images]]
        elif not isinstance(images[0], (list, tuple)) and getattr(images[0], "ndim", ndims) <= ndims:
            images = [images]
        return [[clip] if getattr(clip, "ndim", None) == ndims else [*clip] for clip in images]

    def _preprocess(  # ty: ignore[incompatible-method-override]  each processor names what it uses, as upstream
        self,
        images: torch.Tensor,
        do_resize: bool,
        size: SizeDict,
        size_divisor: int,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: float | list[float],
        image_std: float | list[float],
        resample: PILImageResampling | None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """One clip [T, 3, height, width] -> resized and normalised floats."""
        if do_resize:
            for step in resizing_steps(images.shape[-2:], size, size_divisor):
                images = self.resize(images, SizeDict(*step), resample=resample, antialias=False)
        return self.rescale_and_normalize(images, do_rescale, rescale_factor, do_normalize, image_mean, image_std)

    def _preprocess_labels(
        self,
        maps: torch.Tensor,
        do_resize: bool,
        size: SizeDict,
        size_divisor: int,
        do_reduce_labels: bool,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Maps [T, 1, height, width] -> [T, height, width], int64."""
        labels = maps[:, 0].long()
        if do_reduce_labels:
            labels = torch.where((labels == 0) | (labels == 255), 255, labels - 1)
        if do_resize:
            for step in resizing_steps(labels.shape[-2:], size, size_divisor):
                labels = self.resize(
                    labels, SizeDict(*step), resample=InterpolationMode.NEAREST_EXACT, antialias=False
                )
        return labels

    def post_process_semantic_segmentation(
        self,
        outputs: Any,
        target_sizes: torch.Tensor | list[tuple[int, int]] | None = None,
    ) -> list[torch.Tensor]:
        """Class maps of the target frames.

        As in the released code, logits are enlarged to the size that the model saw and from there to the size of the
        frame, and the largest one wins; see `largest_class` for how.

        Args:
            outputs: Anything with `logits` [B, K, height / 4, width / 4].
            target_sizes: [B, 2] (height, width) of the frames as they came. Without it, maps have the logits' size.

        Returns:
            B maps [height, width], int64.

        Raises:
            ValueError: another number of sizes than of maps.
        """
        logits = outputs.logits
        if target_sizes is None:
            return list(logits.argmax(dim=1))
        if len(target_sizes) != len(logits):
            raise ValueError(f"There must be one size for each of {len(logits)} maps. Received: {len(target_sizes)}")
        sizes = [(int(height), int(width)) for height, width in target_sizes]
        labels = []
        for one, size in zip(logits, sizes):
            # the second resizing changes nothing where the sizes are the same
            seen = [resizing_steps(size, SizeDict(**dict(self.size)), self.size_divisor)[-1]] if self.do_resize else []
            labels.append(largest_class(one, [*seen, size]))
        return labels


def resizing_steps(shape: Sequence[int], size: SizeDict, divisor: int) -> list[tuple[int, int]]:
    """(height, width) after each of the two resizings of the released code: into `size`, up to multiples of `divisor`.

    Raises:
        ValueError: a `size` without positive `shortest_edge` and `longest_edge`, or a divisor below 1.
    """
    if not size.shortest_edge or not size.longest_edge or divisor < 1:
        raise ValueError(
            "size needs 'shortest_edge' and 'longest_edge', and size_divisor must be at least 1. "
            f"Received: {dict(size)}, {divisor}"
        )
    scale = min(size.longest_edge / max(shape), size.shortest_edge / min(shape))
    height, width = (max(int(side * scale + 0.5), 1) for side in shape)
    return [(height, width), (-(-height // divisor) * divisor, -(-width // divisor) * divisor)]


class CFFMImageProcessor(ClipImageProcessor):
    r"""
    Prepares clips for [`CFFMForVideoSemanticSegmentation`]; everything is described in [`ClipImageProcessor`].

    Example:

    ```python
    >>> processor = CFFMImageProcessor()
    >>> frames = [Image.new("RGB", (1920, 1080)) for _ in range(4)]
    >>> processor(frames, return_tensors="pt")["pixel_values"].shape
    torch.Size([1, 4, 3, 480, 864])
    ```
    """


class MRCFAImageProcessor(ClipImageProcessor):
    r"""
    Prepares clips for [`MRCFAForVideoSemanticSegmentation`]; everything is described in [`ClipImageProcessor`].

    Example:

    ```python
    >>> processor = MRCFAImageProcessor()
    >>> frames = [Image.new("RGB", (1920, 1080)) for _ in range(4)]
    >>> processor(frames, return_tensors="pt")["pixel_values"].shape
    torch.Size([1, 4, 3, 480, 864])
    ```
    """


class DilatedVideoImageProcessor(ClipImageProcessor):
    r"""
    Prepares clips for PSPNet, OCRNet, TCB, NetWarp and DeepLabv3+, see [`ClipImageProcessor`]. Sides need not be
    multiples of anything: frames of VSPW, which are 480 pixels high, stay as they are (released code).

    Example:

    ```python
    >>> processor = DilatedVideoImageProcessor()
    >>> processor(Image.new("RGB", (1920, 1080)), return_tensors="pt")["pixel_values"].shape
    torch.Size([1, 1, 3, 480, 853])
    ```
    """

    size_divisor = 1


__all__ = ["CFFMImageProcessor", "DilatedVideoImageProcessor", "MRCFAImageProcessor"]
