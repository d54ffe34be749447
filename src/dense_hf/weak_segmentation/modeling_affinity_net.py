"""AffinityNet: which neighbouring cells of an image belong together (thesis section 3.4.4, reference [143]).

Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised Semantic
Segmentation" (2018). It learns from the certain places of localisation maps (`affinity_labels.py`); then maps walk at
random to where it says (`random_walk.py`).

B images of H x W pixels, h x w cells, D channels, P pairs of each cell.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import filter_output_hidden_states
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .affinity_pairs import affinity_loss, pair_affinities, pair_offsets
from .backbone_mcis import build_backbone
from .configuration_affinity_net import NUM_LEVELS, AffinityNetConfig
from .frozen_norms import init_frozen_norm


@dataclass
class AffinityNetOutput(ModelOutput):
    """Output of [`AffinityNetModel`].

    Args:
        loss (`torch.Tensor` of shape `(1,)`, *optional*): With `labels`.
        loss_dict (`dict[str, torch.Tensor]`, *optional*): Its terms, see [`affinity_loss`].
        affinities (`torch.Tensor` of shape `(batch_size, pairs, h, w)`):
            From 0 to 1, of each cell and the cells at `pair_offsets(config.radius)` from it.
        last_hidden_state (`torch.Tensor` of shape `(batch_size, hidden_size, h, w)`): The features that are compared.
        hidden_states (`tuple(torch.Tensor)`, *optional*):
            Feature maps of the backbone and those features, with `output_hidden_states=True`.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    affinities: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class AffinityNetModel(PreTrainedModel):
    """Compares neighbouring cells of an image.

    Example:

    ```python
    >>> import torch
    >>> from dense_hf import AffinityNetConfig, AffinityNetModel

    >>> model = AffinityNetModel(AffinityNetConfig()).eval()
    >>> model(torch.randn(1, 3, 448, 448)).affinities.shape
    torch.Size([1, 34, 56, 56])
    ```
    """

    config: AffinityNetConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image",)  # ty: ignore[invalid-assignment]  as the models of transformers say it
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _no_split_modules = ["VGGStage", "WideBlock"]

    def __init__(self, config: AffinityNetConfig):
        super().__init__(config)
        self.backbone = build_backbone(config)
        channels: list[int] = list(self.backbone.channels)  # ty: ignore[invalid-argument-type]  a list of int
        if len(channels) < NUM_LEVELS:
            raise ValueError(
                f"The backbone must give {NUM_LEVELS} feature maps (out_indices). Received: {len(channels)}"
            )
        self.projections = nn.ModuleList(
            nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)
            for inputs, outputs in zip(channels[-NUM_LEVELS:], config.projection_sizes)
        )
        self.mixer = nn.Conv2d(config.hidden_size, config.hidden_size, kernel_size=1, bias=False)
        self.offsets = pair_offsets(config.radius)
        self.post_init()
        # FSDP looks for every class that is named, and fails where this configuration has none
        self._no_split_modules &= {type(module).__name__ for module in self.modules()}  # ty: ignore[unsupported-operator]  a set by now

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """He's for the projections, and features so different that affinities are not all near 1 (released)."""
        if module is self.mixer:
            init.xavier_uniform_(module.weight, gain=4)
        elif isinstance(module, nn.Conv2d) and any(module is projection for projection in self.projections):
            init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_uniform_(module.weight, a=5**0.5)
        else:
            super()._init_weights(module)
            init_frozen_norm(module)

    @can_return_tuple
    @filter_output_hidden_states
    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs) -> AffinityNetOutput:
        """Compare the cells of images.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, H, W)`):
                Normalised images of any size, which 0, the mean colour, fills up to whole cells: the grid has
                h = ceil(H / `config.feature_stride`) rows, and so on.
            labels (`torch.Tensor` of shape `(batch_size, h, w)`, *optional*):
                Of the cells: 0 for background, class id + 1, 255 for cells that are not known.

        Raises:
            ValueError: labels that do not fit the grid.
        """
        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        height, width = pixel_values.shape[-2:]
        stride = self.config.feature_stride
        size = math.ceil(height / stride), math.ceil(width / stride)
        filled = F.pad(pixel_values, (0, size[1] * stride - width, 0, size[0] * stride - height))
        maps = self.backbone(filled, **(kwargs | {"return_dict": True})).feature_maps
        levels = [resampled(F.elu(project(one)), size) for project, one in zip(self.projections, maps[-NUM_LEVELS:])]
        features = F.elu(self.mixer(torch.cat(levels, dim=1)))
        affinities = pair_affinities(features, self.offsets)
        loss, terms = None, None
        if labels is not None:
            loss, terms = affinity_loss(affinities, labels, self.offsets)
        return AffinityNetOutput(
            loss=loss,
            loss_dict=terms,
            affinities=affinities,
            last_hidden_state=features,
            hidden_states=(*maps, features),
        )


def resampled(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Features [B, C, ...] on a grid of this size; untouched if they are."""
    if features.shape[-2:] == size:
        return features
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)


__all__ = ["AffinityNetModel"]
