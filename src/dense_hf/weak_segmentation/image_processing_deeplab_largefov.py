"""Image processor of DeepLab-LargeFOV: images in at their own size, class maps out.

B images, K classes.
"""

from typing import Any

import numpy as np
import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import ChannelDimension, ImageInput, PILImageResampling
from transformers.processing_utils import ImagesKwargs, Unpack
from transformers.utils import TensorType

from .image_reading import ImageReader
from .logits_deeplab_largefov import enlarge


class DeepLabLargeFOVImageProcessorKwargs(ImagesKwargs, total=False):
    r"""
    do_flip_channel_order (`bool`, *optional*, defaults to `self.do_flip_channel_order`):
        Whether channels become blue, green, red.
    """

    do_flip_channel_order: bool


class DeepLabLargeFOVImageProcessor(ImageReader):
    r"""
    Normalises images, and turns logits into class maps.

    The defaults are for weights that come from Caffe. For those of torchvision or timm: `do_flip_channel_order=False`,
    `do_rescale=True` and ImageNet's `image_mean=[0.485, 0.456, 0.406]`, `image_std=[0.229, 0.224, 0.225]`.

    Args:
        do_flip_channel_order (`bool`, defaults to `True`): Whether channels become blue, green, red.
        do_resize (`bool`, defaults to `False`): Whether images are resized to `size` (labels: without mixing them).
        size (`dict`, defaults to `{"height": 321, "width": 321}`): Used with `do_resize` only.
        do_rescale (`bool`, defaults to `False`): Whether pixels are divided by 255.
        do_normalize (`bool`, defaults to `True`): Whether the mean is taken off, and the rest divided by `image_std`.
        image_mean, image_std (`list[float]`, default to the released mean of bytes, and 1):
            Per channel, in the order that `do_flip_channel_order` makes.

    Example:

    ```python
    >>> processor = DeepLabLargeFOVImageProcessor()
    >>> inputs = processor(Image.new("RGB", (500, 375)), return_tensors="pt")
    >>> inputs["pixel_values"].shape
    torch.Size([1, 3, 375, 500])
    >>> processor.post_process_semantic_segmentation(model(**inputs), target_sizes=[(375, 500)])[0].shape
    torch.Size([375, 500])
    ```
    """

    valid_kwargs = DeepLabLargeFOVImageProcessorKwargs
    resample = PILImageResampling.BILINEAR
    size = {"height": 321, "width": 321}
    do_resize = False
    do_convert_rgb = True
    do_flip_channel_order = True
    do_rescale = False
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = (104.008, 116.669, 122.675)  # blue, green, red
    image_std = (1.0, 1.0, 1.0)

    def __init__(self, **kwargs: Unpack[DeepLabLargeFOVImageProcessorKwargs]):
        super().__init__(**kwargs)

    def preprocess(
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None = None,
        **kwargs: Unpack[DeepLabLargeFOVImageProcessorKwargs],
    ) -> BatchFeature:
        """Prepare images.

        Args:
            images: One image or several; as tensors (`return_tensors="pt"`) all have one size.
            segmentation_maps: A map of class ids for each, [height, width].

        Returns:
            `pixel_values` [B, 3, height, width] and, with `segmentation_maps`, `labels` [B, height, width].

        Raises:
            ValueError: another number of maps than of images, or maps of other sizes.
        """
        return super().preprocess(images, segmentation_maps, **kwargs)

    def _preprocess_image_like_inputs(  # ty: ignore[incompatible-method-override]  as upstream
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None,
        do_convert_rgb: bool,
        input_data_format: ChannelDimension,
        return_tensors: str | TensorType | None,
        do_flip_channel_order: bool,
        **kwargs: Any,
    ) -> BatchFeature:
        arrays = self._prepare_image_like_inputs(
            images, do_convert_rgb=do_convert_rgb, input_data_format=input_data_format
        )
        sizes = [array.shape[-2:] for array in arrays]
        if do_flip_channel_order:
            arrays = [array[::-1] for array in arrays]
        data = {"pixel_values": self._preprocess(arrays, return_tensors=None, **kwargs)["pixel_values"]}
        if segmentation_maps is not None:
            maps = self._prepare_image_like_inputs(
                segmentation_maps, expected_ndims=2, input_data_format=ChannelDimension.FIRST
            )
            if [one.shape[-2:] for one in maps] != sizes:
                raise ValueError(
                    f"There must be one segmentation map per image, of its size: {[list(size) for size in sizes]}. "
                    f"Received: {[list(one.shape[-2:]) for one in maps]}"
                )
            steps: dict[str, Any] = {
                "do_rescale": False,
                "do_normalize": False,
                "resample": PILImageResampling.NEAREST,
            }
            labels = self._preprocess(maps, return_tensors=None, **(kwargs | steps))["pixel_values"]
            data["labels"] = [one[0].astype(np.int64) for one in labels]
        return BatchFeature(data=data, tensor_type=return_tensors)

    def post_process_semantic_segmentation(
        self, outputs: Any, target_sizes: torch.Tensor | list[tuple[int, int]] | None = None
    ) -> list[torch.Tensor]:
        """Class maps: logits are enlarged as in training, and the largest one wins.

        Args:
            outputs: Anything with `logits` [B, K, h, w].
            target_sizes: [B, 2] (height, width) of the images. Without it, maps have the logits' size.

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
        return [enlarge(one[None], size)[0].argmax(dim=0) for one, size in zip(logits, sizes)]


__all__ = ["DeepLabLargeFOVImageProcessor"]
