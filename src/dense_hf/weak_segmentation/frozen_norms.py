"""Batch norm that keeps the statistics and factors it was loaded with: batches of a few images have none to offer."""

from typing import Any

import torch
from torch import nn
from transformers.models.conditional_detr.modeling_conditional_detr import replace_batch_norm


def freeze_batch_norms(backbone: nn.Module, backbone_config: Any) -> None:
    """Make every batch norm of a backbone a fixed function, in training too.

    Args:
        backbone: of transformers or timm, changed in place.
        backbone_config: that it was made of; `None` for a network of this folder.
    """
    # timm fuses activations into its norms, so it must freeze them itself
    if getattr(backbone_config, "model_type", None) == "timm_backbone":
        backbone.freeze_batch_norm_2d()  # ty: ignore[not-callable]  a method of timm's wrapper
    else:
        with torch.no_grad():  # or the copied numbers keep a graph, and the model cannot be deep-copied
            replace_batch_norm(backbone)
