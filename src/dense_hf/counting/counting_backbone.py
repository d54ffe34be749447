"""The image encoder: any backbone of transformers or timm, with the released code's freezing."""

from typing import Any

import torch
from torch import nn
from transformers.backbone_utils import load_backbone
from transformers.models.conditional_detr.modeling_conditional_detr import replace_batch_norm


def build_backbone(config: Any) -> nn.Module:
    """The backbone of a counter, randomly initialised; its last feature map is what the model reads.

    Args:
        config: has `backbone_config`, `freeze_backbone_batch_norm` and `num_frozen_backbone_stages`.
    """
    backbone = load_backbone(config)
    drop_stages_behind_the_output(backbone)
    if config.freeze_backbone_batch_norm:
        # timm fuses activations into its norms, so it must freeze them itself
        if config.backbone_config.model_type == "timm_backbone":
            backbone.freeze_batch_norm_2d()
        else:
            with torch.no_grad():  # or the copied numbers keep a graph, and the model cannot be deep-copied
                replace_batch_norm(backbone)
    if config.num_frozen_backbone_stages:
        freeze_leading_stages(backbone, config.num_frozen_backbone_stages)
    return backbone


def drop_stages_behind_the_output(backbone: nn.Module) -> None:
    """Remove blocks that no feature map depends on.

    Some of timm's extractors keep them. They would be saved, and a distributed run waits for their gradients.
    """
    if not hasattr(backbone, "_backbone"):
        return
    timm_model: Any = backbone._backbone
    last = timm_model.feature_info.get_dicts()[-1]["module"]
    blocks, _, index = last.rpartition(".")
    if index.isdigit() and blocks in dict(timm_model.named_modules()):
        del timm_model.get_submodule(blocks)[int(index) + 1 :]


def freeze_leading_stages(backbone: nn.Module, num_stages: int) -> None:
    """Stop training the first `num_stages` parts of a backbone: its stem, its first stage, and so on.

    Raises:
        ValueError: if the backbone does not show where its stages begin, or has fewer.
    """
    if hasattr(backbone, "_backbone"):  # timm lists the modules after which it can give feature maps, the stem first
        timm_model: Any = backbone._backbone
        starts = [f"_backbone.{info['module']}." for info in timm_model.feature_info.info[1:]]
    else:
        lists = [name for name, module in backbone.named_modules() if isinstance(module, nn.ModuleList)]
        stages = next((name for name in lists if name.split(".")[-1] in ("stages", "layers", "layer")), None)
        starts = [f"{stages}.{index}." for index in range(len(backbone.get_submodule(stages)))] if stages else []
    names = [name for name, _ in backbone.named_parameters()]
    if num_stages > len(starts) or not any(name.startswith(starts[num_stages - 1]) for name in names):
        raise ValueError(
            f"num_frozen_backbone_stages must be at most {len(starts)} for this backbone (0 trains all of it). "
            f"Received: {num_stages}"
        )
    for name, parameter in backbone.named_parameters():  # in the order of definition, which is that of the forward
        if name.startswith(starts[num_stages - 1]):
            return
        parameter.requires_grad_(False)
