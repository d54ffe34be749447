"""The image encoder: any backbone of transformers or timm, with the released code's freezing."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d
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
            compute_norms_at_once(backbone)
        else:
            with torch.no_grad():  # or the copied numbers keep a graph, and the model cannot be deep-copied
                replace_batch_norm(backbone)
    if config.num_frozen_backbone_stages:
        freeze_leading_stages(backbone, config.num_frozen_backbone_stages)
    return backbone


class FrozenNorm(FrozenBatchNorm2d):
    """Frozen batch norm in one pass over the features, where its parent takes two."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same."""
        weight, bias, mean, variance = self.buffers()
        scale = weight * (variance + self.eps).rsqrt()
        shift = bias - mean * scale
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None])


def compute_norms_at_once(backbone: nn.Module) -> None:
    """Put a `FrozenNorm` with the same numbers in the place of every frozen batch norm."""
    for module in list(backbone.modules()):
        for name, child in module.named_children():
            if type(child) is FrozenBatchNorm2d:
                norm = FrozenNorm(child.get_buffer("weight").numel(), child.eps)
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm)


def known_stride(backbone: nn.Module) -> int | None:
    """Side in pixels of a cell of the last feature map, where timm says it, or patches of another side than 2^k do."""
    if hasattr(backbone, "_backbone"):
        timm_model: Any = backbone._backbone
        return int(timm_model.feature_info.reduction()[-1])
    patch = getattr(backbone.config, "patch_size", None)
    return patch if isinstance(patch, int) and patch & (patch - 1) else None


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
    """Stop training the first `num_stages` parts of a backbone: its stem, its first stage, and so on, or all of it.

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
    starts = [start for start in starts if any(name.startswith(start) for name in names)]
    if num_stages == len(starts) + 1:
        backbone.requires_grad_(False)
        return
    if num_stages > len(starts):
        raise ValueError(
            f"num_frozen_backbone_stages must be at most {len(starts) + 1} for this backbone (0 trains all of it, "
            f"{len(starts) + 1} nothing). Received: {num_stages}"
        )
    for name, parameter in backbone.named_parameters():  # in the order of definition, which is that of the forward
        if name.startswith(starts[num_stages - 1]):
            return
        parameter.requires_grad_(False)


class VGGTrunk(nn.Module):
    """The convolutions of VGG-16 without its batch norms, of any width; the caller says what stands between them.

    They have the names of MCIS's VGG-16, `stages.{stage}.{place in torchvision's features}`, so that ImageNet weights
    come in the same way.

    Args:
        num_channels: of the image.
        widths: channels of the convolutions of each stage.
        first_padding: of the first convolution; all others keep the size.
    """

    def __init__(self, num_channels: int, widths: Sequence[Sequence[int]], first_padding: int = 1):
        super().__init__()
        self.stages = nn.ModuleList()
        before, place = num_channels, 0
        for stage in widths:
            convs = nn.ModuleDict()
            for width in stage:
                convs[str(place)] = nn.Conv2d(before, width, 3, padding=1 if place else first_padding)
                before, place = width, place + 2  # a convolution and its activation
            self.stages.append(convs)
            place += 1  # the pool

    def forward(
        self, hidden_state: Tensor, activation: Callable[[Tensor], Tensor] = F.relu, ceil_mode: bool = False
    ) -> list[Tensor]:
        """[B, num_channels, H, W] -> the features of each stage, of half the sides each but the first.

        Args:
            hidden_state: the image.
            activation: behind every convolution.
            ceil_mode: whether halving rounds up.
        """
        maps = []
        for number, stage in enumerate(self.stages):
            if number:
                hidden_state = F.max_pool2d(hidden_state, 2, ceil_mode=ceil_mode)
            for conv in stage.values():  # ty: ignore[not-callable]  a ModuleDict
                hidden_state = activation(conv(hidden_state))
            maps.append(hidden_state)
        return maps
