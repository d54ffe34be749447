"""The backbone that all rows of a comparison share: any of timm, as a configuration and as pixels that it expects."""

from functools import cache
from typing import Any

import timm

PACKAGED = "package:efficientnet-lite0"


@cache
def _feature_strides(backbone: str) -> tuple[int, ...]:
    network: Any = timm.create_model(backbone, pretrained=False, features_only=True)
    return tuple(network.feature_info.reduction())


def timm_backbone(backbone: str, strides: tuple[int, ...]) -> dict[str, Any]:
    """`backbone_config` with maps of these strides.

    Raises:
        ValueError: timm has no such network, or it has no maps of these strides.
    """
    if not timm.is_model(backbone):
        raise ValueError(f"backbone must be a name of timm (timm.list_models()). Received: {backbone}")
    found = _feature_strides(backbone)
    if missing := [stride for stride in strides if stride not in found]:
        raise ValueError(f"backbone must have feature maps of stride {missing}. Received: {backbone}, {found}")
    indices = [max(index for index, one in enumerate(found) if one == stride) for stride in strides]
    return {"model_type": "timm_backbone", "backbone": backbone, "features_only": True, "out_indices": indices}


def pixel_values(backbone: str, weights: str | None) -> dict[str, list[float]]:
    """Mean and deviation of the pixels that the weights of a backbone expect."""
    if weights == PACKAGED:
        return {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    known: Any = timm.get_pretrained_cfg(backbone)
    return {"image_mean": list(known.mean), "image_std": list(known.std)}
