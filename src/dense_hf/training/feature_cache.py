"""Features of a frozen backbone, computed once for each training crop: a help for few images or videos.

With `fixed_crops` (of video: `fixed_clips`), every epoch shows the same crops, and a backbone that is not trained
gives the same features of them: most of the time of a step goes into computing again what is known. Here they are kept
in memory.

B batch of crops [B, 3, h, w].
"""

from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BackboneOutput

from .batch_norm import is_frozen


def why_not_fixed(backbone: nn.Module) -> str | None:
    """Why a backbone may give other features of the same pixels later, or None if it gives the same for good."""
    trained = sum(parameter.requires_grad for parameter in backbone.parameters())
    if trained:
        return f"{trained} of its tensors are trained (num_frozen_backbone_stages, of video freeze_backbone)"
    for name, module in backbone.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not is_frozen(backbone):
            return f"{name} follows the statistics of the batch (freeze_backbone_batch_norm)"
        rate = getattr(module, "drop_prob", getattr(module, "p", 0))
        drops = isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ == "DropPath"
        if drops and rate:
            return f"{name} drops at random"
    return None


class FeatureCache:
    """Feature maps by the pixels that they are of.

    A batch of which one crop is new is computed as a whole, so that the numbers are those of a run without a cache:
    how a convolution sums may depend on the size of its batch.
    """

    def __init__(self, backbone: nn.Module):
        self._compute = backbone.forward
        self._backbone = backbone
        self._kept: dict[bytes, tuple[Tensor, ...]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __call__(self, pixel_values: Tensor, *args: Any, **kwargs: Any) -> Any:
        """As the backbone's forward. Only training looks at crops twice."""
        if not self._backbone.training:
            return self._compute(pixel_values, *args, **kwargs)
        keys = [sha256(crop.detach().cpu().contiguous().numpy().tobytes()).digest() for crop in pixel_values]
        if not all(key in self._kept for key in keys):
            with torch.no_grad():
                outputs = self._compute(pixel_values, *args, **kwargs)
            if (maps := getattr(outputs, "feature_maps", None)) is None:
                raise ValueError(
                    f"feature_cache needs a backbone of backbone_config. Received: {type(self._backbone).__name__}"
                )
            for number, key in enumerate(keys):
                self._kept.setdefault(key, tuple(one[number : number + 1].clone() for one in maps))
        together: Any = zip(*(self._kept[key] for key in keys))
        maps: Any = tuple(torch.cat(of_crops) for of_crops in together)  # in the order of memory that they had
        return BackboneOutput(feature_maps=maps)


@contextmanager
def cached_features(backbone: nn.Module) -> Generator[FeatureCache]:
    """Inside, the backbone computes the features of each training crop once.

    Args:
        backbone: of the model, with `feature_maps` in what it returns.

    Raises:
        ValueError: a backbone that learns, or is random.
    """
    if (problem := why_not_fixed(backbone)) is not None:
        raise ValueError(f"feature_cache needs a backbone that stays as it is. Received: {problem}")
    cache = FeatureCache(backbone)
    backbone.forward = cache  # of this instance; state and class are as before
    try:
        yield cache
    finally:
        del backbone.forward
