"""MAN: counting with attention to learned regions (a baseline of thesis Table 2.3).

Lin et al., "Boosting Crowd Counting via Multifaceted Attention" (2022).

B images of H x W pixels, h x w features, S = h * w tokens of D channels, n heads, N annotated points of the fullest
image.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.backbone_utils import filter_output_hidden_states
from transformers.utils.generic import can_return_tuple

from .configuration_man import MANConfig
from .counter_interface import CounterPreTrainedModel, ObjectCountingOutput, PointTargets, read_labels, see_apart
from .counting_backbone import build_backbone
from .density_head import DensityHead, init_convolution
from .density_losses import bayesian_loss

GLOBAL_SHARE = 0.1  # of the attention that looks at everything
ATTENTION_CELLS = 2**24  # of an attention matrix at once: 67 MB, and some of them exist side by side
_PROJECTIONS = 9


class RegionAttention(nn.Module):
    """Attention whose scores are weighted by a learned rectangle of each query.

    Two softmax distributions over the tokens say where the two opposite corners of the rectangle are; the weight of a
    token is the probability that it lies between them.

    Args:
        channels: D.
        num_heads: n.
        dropout: of the attention weights.
    """

    def __init__(self, channels: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        # queries, keys and values of all tokens; queries and keys of the two corners, and of tokens in regions
        self.in_proj = nn.Linear(channels, _PROJECTIONS * channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, size: tuple[int, int], with_regions: bool) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            tokens: [B, S, D]
            size: h and w.
            with_regions: whether the second output is wanted.

        Returns:
            [B, S, D], and the sums [B, S, D] of the tokens with the weights of all heads.
        """
        projected = self.in_proj(tokens).unflatten(2, (_PROJECTIONS, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        values, attended, regions = projected[2], [], []
        batch, length = tokens.shape[:2]
        strips = [slice(None)]
        if not torch.compiler.is_compiling():  # a graph is made for any number of tokens
            # a matrix of all tokens of a large image would be gigabytes
            rows = max(1, ATTENTION_CELLS // (batch * self.num_heads * length))
            strips = [slice(first, first + rows) for first in range(0, length, rows)]
        for strip in strips:
            scores, weights = self._scores(projected, strip, size)
            attention = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)
            attended.append(attention @ values)
            if with_regions:
                regions.append(weights.sum(dim=1) @ tokens)
        output = self.out_proj(torch.cat(attended, dim=2).transpose(1, 2).flatten(2))
        return output, torch.cat(regions, dim=1) if with_regions else None

    def _scores(self, projected: Tensor, rows: slice, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Scores before the softmax, and weights, of some queries: [B, n, rows, S] both."""
        query, key, _, query_one, key_one, query_two, key_two, query_local, key_local = projected
        one, two = (
            (corner[:, :, rows] @ keys.transpose(-1, -2)).softmax(dim=-1).unflatten(-1, size)
            for corner, keys in ((query_one, key_one), (query_two, key_two))
        )
        weights = (_up_to(one) * _from(two) + _from(one) * _up_to(two)).flatten(-2)
        scale = query.shape[-1] ** -0.5
        everywhere = GLOBAL_SHARE * scale * (query[:, :, rows] @ key.transpose(-1, -2))
        return everywhere + scale * (query_local[:, :, rows] @ key_local.transpose(-1, -2)) * weights, weights


def _up_to(probability: Tensor) -> Tensor:
    """[..., h, w] -> sums over all cells that are not below or right of each."""
    return probability.cumsum(dim=-1).cumsum(dim=-2)


def _from(probability: Tensor) -> Tensor:
    """[..., h, w] -> sums over all cells that are not above or left of each."""
    return probability.flip(-1, -2).cumsum(dim=-1).cumsum(dim=-2).flip(-1, -2)


class MANLayer(nn.Module):
    """Region attention and a feed-forward network, each added to what came in, and normalized.

    Args:
        channels: D.
        config: has the other sizes.
    """

    def __init__(self, channels: int, config: MANConfig):
        super().__init__()
        self.attention = RegionAttention(channels, config.encoder_attention_heads, config.dropout)
        self.attention_norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, channels)
        self.final_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, size: tuple[int, int], with_regions: bool) -> tuple[Tensor, Tensor | None]:
        """See [`RegionAttention.forward`]."""
        attended, regions = self.attention(tokens, size, with_regions)
        tokens = self.attention_norm(tokens + self.dropout(attended))
        enriched = self.fc2(self.dropout(F.relu(self.fc1(tokens))))
        return self.final_norm(tokens + self.dropout(enriched)), regions


class MANForObjectCounting(CounterPreTrainedModel):
    """Counts the objects of an image as the sum of a density map.

    Example:

    ```python
    >>> from PIL import Image
    >>> from dense_hf import CounterImageProcessor, MANConfig, MANForObjectCounting

    >>> model = MANForObjectCounting(MANConfig()).eval()
    >>> processor = CounterImageProcessor(**model.config.processor_settings)
    >>> processor.count_objects(model, Image.open("reef.jpg"))["count"]
    ```
    """

    config: MANConfig

    def __init__(self, config: MANConfig):
        super().__init__(config)
        self.backbone = build_backbone(config)
        channels: int = self.backbone.channels[-1]  # ty: ignore[not-subscriptable, invalid-assignment]  a list of int
        if channels % config.encoder_attention_heads:
            raise ValueError(
                f"encoder_attention_heads must divide the channels of the backbone, {channels}. "
                f"Received: {config.encoder_attention_heads}"
            )
        self.layers = nn.ModuleList(MANLayer(channels, config) for _ in range(config.encoder_layers))
        self.head = DensityHead(channels, config.head_channels, activation="relu")
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As released: Xavier for the layers, PyTorch's own start for the head."""
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            init_convolution(module, None)
        else:
            super()._init_weights(module)

    @can_return_tuple
    @filter_output_hidden_states
    def forward(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        labels: Tensor | None = None,
        image_short_sides: Tensor | None = None,
        **kwargs,
    ) -> ObjectCountingOutput:
        """Count.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, height, width)`): Normalized images or crops.
            pixel_mask (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
                1 for pixels of the image, 0 for padding, which it does not see and where nothing is counted.
            labels (`torch.Tensor` of shape `(batch_size, N, 2 to 4)`, *optional*):
                Annotated points, padded with -100: x / width, y / height, mean distance to the 3 nearest points (not
                used), visible share (1 if it is not there).
            image_short_sides (`torch.Tensor` of shape `(batch_size,)`, *optional*):
                Shorter side in pixels of the images that crops were cut out of.

        Returns:
            `density_map` of shape `(batch_size, 1, height // 16, width // 16)`, with labels `loss` and `loss_dict`,
            and with `output_hidden_states=True` the features of the backbone, of each layer and of the head.

        Raises:
            ValueError: labels of another shape, or that were not divided by the sides.
        """
        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        height, width = pixel_values.shape[-2:]
        network = partial(self._maps, with_regions=labels is not None, **kwargs)
        density_map, consistency, *states = see_apart(network, pixel_values, pixel_mask)
        loss, terms = None, None
        if labels is not None:
            targets = read_labels(labels, (height, width), image_short_sides)
            loss, terms = self._loss(density_map, consistency.mean(), targets)
        return ObjectCountingOutput(loss=loss, loss_dict=terms, density_map=density_map, hidden_states=tuple(states))

    def _maps(self, pixel_values: Tensor, with_regions: bool, **kwargs) -> list[Tensor]:
        """The density map, how much regions differ [B] (0 if not asked for), and features, see `forward`."""
        states = [self.backbone(pixel_values, **(kwargs | {"return_dict": True})).feature_maps[-1]]
        size = (states[0].shape[-2], states[0].shape[-1])
        tokens, regions = states[0].flatten(2).transpose(1, 2), []
        for layer in self.layers:
            tokens, of_layer = layer(tokens, size, with_regions)
            states.append(tokens.transpose(1, 2).unflatten(2, size))
            regions.append(of_layer)
        cells = [max(1, side // self.config.density_stride) for side in pixel_values.shape[-2:]]
        enlarged = F.interpolate(states[-1], size=cells, mode="bilinear", align_corners=True)
        density_map, features = self.head(enlarged)
        is_empty = not (with_regions and regions)
        consistency = density_map.new_zeros(density_map.shape[0]) if is_empty else consistency_loss(regions)
        return [density_map, consistency, *states, features]

    def _loss(
        self, density_map: Tensor, consistency: Tensor, targets: PointTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        terms = bayesian_loss(
            density_map,
            targets.points,
            config.density_stride,
            targets.image_short_sides,
            targets.visible_shares,
            sigma=config.sigma,
            background_ratio=config.background_ratio,
            background="difference",
            trim=config.trim,
        )
        terms["loss_consistency"] = consistency
        return terms.pop("loss") + config.consistency_coefficient * terms["loss_consistency"], terms


def consistency_loss(regions: list[Tensor]) -> Tensor:
    """How much the regions [B, S, D] of each layer differ from their mean over the tokens.

    A sum of cosine distances over layers and tokens, [B].
    """
    distances = []
    for features in regions:
        features = features.float()
        mean = features.mean(dim=1, keepdim=True)
        lengths = features.norm(dim=-1) * mean.norm(dim=-1)
        distances.append((1 - (features * mean).sum(dim=-1) / (lengths + 1e-5)).sum(dim=-1))
    return torch.stack(distances).sum(dim=0)


__all__ = ["MANForObjectCounting"]
