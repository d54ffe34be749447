"""Image processor of AffinityNet: images in at their own size, normalised pixels out."""

from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling

from .image_reading import ImageReader


class AffinityNetImageProcessor(ImageReader):
    r"""
    Normalises images, and leaves their size.

    Args:
        do_resize (`bool`, defaults to `False`): Whether images are resized to `size`.
        size (`dict`, defaults to `{"height": 448, "width": 448}`): Used with `do_resize` only.
        resample (`int`, defaults to bilinear): Pillow's filter.
        do_rescale, do_normalize (`bool`, default to `True`): Which steps are taken.
        image_mean, image_std (`list[float]`, defaults to those of ImageNet): Per channel, for pixels in [0, 1].
    """

    resample = PILImageResampling.BILINEAR
    size = {"height": 448, "width": 448}
    do_resize = False
    do_convert_rgb = True
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD


__all__ = ["AffinityNetImageProcessor"]
