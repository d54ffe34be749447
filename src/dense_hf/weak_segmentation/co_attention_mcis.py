"""Co-attention of two images (thesis section 3.3.1, Eq. 3.2-3.4, and section 3.3.2 for several domains).

B pairs, C channels, h x w features of the one image (m in the thesis), h2 x w2 of its partner (n); sizes may differ.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils.generic import maybe_autocast

from .configuration_mcis import MCISConfig


class CoAttention(nn.Module):
    """What two images have in common: each position of one image as a weighted mean of the other image's features.

    As released, there is no scaling by 1 / sqrt(C). Multiplied out as the released code does it: its localisation maps
    come out bit for bit, where PyTorch's fused attention differed by up to 5e-5 (measured).

    With D domains there are D (D + 1) / 2 matrices W_P, one for each unordered pair of domains. If the images come in
    the other order than the domains, W_P is transposed: P(n, m) = P(m, n)^T across domains, so that one matrix
    serves both orders (the thesis leaves the order open).
    """

    def __init__(self, config: MCISConfig):
        super().__init__()
        self.config = config
        self.num_domains = config.num_domains
        # (0, 0), (0, 1), (1, 1): the linear layer applied to F_m is W_P^T, as in the released code
        num_pairs = config.num_domains * (config.num_domains + 1) // 2
        self.affinities = nn.ModuleList(
            nn.Linear(config.hidden_size, config.hidden_size, bias=False)
            for _ in range(num_pairs if config.affinity == "bilinear" else 0)
        )

    def forward(
        self,
        features: Tensor,
        paired_features: Tensor,
        domains: Tensor | None = None,
        paired_domains: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The co-attentive features of both images (Eq. 3.4).

        Args:
            features: [B, C, h, w]
            paired_features: [B, C, h2, w2]
            domains, paired_domains: [B], whole numbers below `num_domains`; `None` is domain 0.

        Returns:
            [B, C, h, w], made of the partner's features, and [B, C, h2, w2], made of the image's.
        """
        affinity = self.affinity(features, paired_features, domains, paired_domains)
        return (
            self.common(features, paired_features, affinity.transpose(1, 2)),
            self.common(paired_features, features, affinity),
        )

    def common(self, features: Tensor, values: Tensor, affinity: Tensor) -> Tensor:
        """The co-attentive features of one image (Eq. 3.4), unless `co_attention_gate` asks for a deviation.

        Args:
            features: of the image, [B, C, h, w]
            values: of its partner, [B, C, h2, w2]
            affinity: [B, h2 * w2, h * w], as for [`attend`].

        Returns:
            [B, C, h, w]
        """
        common = attend(values, affinity, features.shape[-2:])
        if self.config.co_attention_gate == "none":
            return common
        return common * F.cosine_similarity(features.to(common.dtype), common, dim=1).unsqueeze(1)

    def affinity(
        self,
        features: Tensor,
        paired_features: Tensor,
        domains: Tensor | None = None,
        paired_domains: Tensor | None = None,
    ) -> Tensor:
        """P = F_m^T W_P F_n (Eq. 3.2), [B, h * w, h2 * w2], or the cosine. Arguments as for `forward`.

        Without autocast: products of unnormalised features reach the hundreds, where bfloat16 has steps of 1 and more.
        """
        scale = self.config.affinity_scale
        if self.config.affinity == "cosine":
            with maybe_autocast(features.device.type, enabled=False):
                tokens, paired = (F.normalize(f.flatten(2).float(), dim=1) for f in (features, paired_features))
                return scale * (tokens.transpose(1, 2) @ paired)
        weight = self._weight(domains, paired_domains)
        with maybe_autocast(features.device.type, enabled=False):
            tokens, paired = (f.flatten(2).to(weight.dtype) for f in (features, paired_features))
            affinity = (tokens.transpose(1, 2) @ weight.transpose(-2, -1)) @ paired
            return affinity if scale == 1 else scale * affinity

    def _weight(self, domains: Tensor | None, paired_domains: Tensor | None) -> Tensor:
        """W_P^T, [C, C], or [B, C, C] if domains are given."""
        weights = list(self.affinities.parameters())
        known = [given for given in (domains, paired_domains) if given is not None]
        if self.num_domains == 1 or not known:
            return weights[0]
        domains = torch.zeros_like(known[0]) if domains is None else domains
        paired_domains = torch.zeros_like(known[0]) if paired_domains is None else paired_domains
        low, high = torch.minimum(domains, paired_domains), torch.maximum(domains, paired_domains)
        index = low * self.num_domains - low * (low - 1) // 2 + high - low  # place in the rows of an upper triangle
        # stacked, so that matrices which no pair of a batch needs have a gradient, of zeros, on every process
        chosen = torch.stack(tuple(weights))[index]
        return torch.where((domains > paired_domains)[:, None, None], chosen.transpose(1, 2), chosen)


@torch.no_grad()
def attended_positions(affinity: Tensor) -> float:
    """How many positions of the one image a position of the other effectively attends to (Eq. 3.3).

    Args:
        affinity: [B, h2 * w2, h * w], as for [`attend`].

    Returns:
        The mean of exp(entropy): 1 where a softmax is one-hot, h2 * w2 where all positions count alike.
    """
    return float(torch.special.entr(affinity.float().softmax(dim=1)).sum(dim=1).exp().mean())


def attend(values: Tensor, affinity: Tensor, size: Sequence[int]) -> Tensor:
    """Summaries F_n A_n of one image in the light of each position of the other (Eq. 3.3, 3.4).

    Args:
        values: features of the one image, [B, C, h2, w2]
        affinity: [B, h2 * w2, h * w]; a softmax makes each column a weighting of the values.
        size: (h, w) of the other image.

    Returns:
        [B, C, h, w]
    """
    with maybe_autocast(values.device.type, enabled=False):
        weights = affinity.softmax(dim=1)
        return (values.flatten(2).to(weights.dtype) @ weights).unflatten(2, size)
