"""Equivariant regularisation of class maps (thesis section 3.4.4, reference [197]).

Wang et al., "Self-supervised Equivariant Attention Mechanism for Weakly Supervised Semantic Segmentation" (SEAM,
2020): what a classifier sees in a smaller image shall be what it sees in the image, made smaller. Of SEAM this is the
equivariant regularisation (ER); docs/challenge_setting.md says what is left out, and why.

B images, K classes, h x w maps of the image, h' x w' of its smaller copy.
"""

from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-5  # a map without a positive number stays 0


def shrink(pixel_values: Tensor, scale: float) -> Tensor:
    """Images whose sides are `scale` (below 1) times as long, as Pillow would make them: with antialiasing."""
    height, width = pixel_values.shape[-2:]
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    return F.interpolate(pixel_values, size=size, mode="bilinear", align_corners=False, antialias=True)


def equivariance_loss(maps: Tensor, shrunk_maps: Tensor, labels: Tensor) -> Tensor:
    """Mean difference between the maps of images and those of their smaller copies.

    The maps of the image are resized to those of the copy; both are cut at 0 and divided by their maximum. In this
    order it is 0 for every classifier whose maps shrink with the image. Gradients go into both.

    Args:
        maps: of images, [B, K, h, w]
        shrunk_maps: of their copies, [B, K, h', w']
        labels: [B, K], 1 for the classes that count. SEAM takes the mean over all K instead, which gives 200 classes a
            tenth of the weight that 20 have.

    Returns:
        A number from 0 to 1; 0 if no image has a label.
    """
    resized = F.interpolate(maps.float(), size=shrunk_maps.shape[-2:], mode="bilinear", align_corners=False)
    differences = (scaled_to_maximum(resized) - scaled_to_maximum(shrunk_maps.float())).abs().mean(dim=(2, 3))
    return (differences * labels).sum() / labels.sum().clamp(min=1)


def scaled_to_maximum(maps: Tensor) -> Tensor:
    """Maps [B, K, h, w] cut at 0, each divided by its own maximum."""
    positive = F.relu(maps)
    return positive / (positive.amax(dim=(2, 3), keepdim=True) + EPSILON)
