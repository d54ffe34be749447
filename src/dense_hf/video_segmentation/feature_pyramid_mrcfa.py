"""Feature Pyramid, the baseline of Table 5.4 that MRCFA's affinity decoder is compared to.

B clips, R reference frames, P pixels of the target at a scale, N tokens of a reference, E `decoder_hidden_size`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .affinity_mrcfa import CrossFrameAffinity, merge
from .frame_decoder import resize
from .video_segmenter import FrameFeatures
from .video_session import State


class FeaturePyramid(CrossFrameAffinity):
    """Features instead of affinities are merged over the scales.

    Own design, because its code was not released; section 5.4.2 says that features are computed at each scale with
    those of the references, and then merged. Here each scale attends to all tokens of a reference (scaled affinity,
    softmax), and the results are enlarged and added from coarse to fine, as a mean over scales. Keys, values and
    classifiers are those of MRCFA, so all that is missing are the 92 or 271 parameters of the affinity decoder.
    """

    def forward(self, features: FrameFeatures, references: Sequence[State]) -> tuple[Tensor, list[Tensor]]:
        """As `AffinityMining`."""
        *keys, values = (torch.stack(tokens, dim=1) for tokens in zip(*references))
        maps = features.maps[: -1 - len(keys) : -1]
        total = self._at_scale(features, maps[0], keys[0], values)
        for finer, key in zip(maps[1:], keys[1:]):
            total = resize(total, finer.shape[-2:]) + self._at_scale(features, finer, key, values)
        total = resize(total, features.halved.shape[-2:]) / len(keys)
        return merge(features, total.flatten(2).transpose(1, 2).unflatten(0, (-1, len(references))))

    def _at_scale(self, features: FrameFeatures, maps: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Maps [B, C, h_l, w_l] of the target, keys [B, R, N, C + 1], values [B, R, N, E] -> [B * R, E, h_l, w_l]."""
        affinity = self.affinity(maps, keys.flatten(1, 2)).unflatten(2, keys.shape[1:3])
        if maps is features.maps[-1]:
            affinity = self.to_reference_grid(affinity, features)
        attention = (affinity * maps.shape[1] ** -0.5).softmax(dim=-1)
        retrieved = (attention.transpose(1, 2) @ values).flatten(0, 1)
        return retrieved.transpose(1, 2).unflatten(2, maps.shape[-2:])
