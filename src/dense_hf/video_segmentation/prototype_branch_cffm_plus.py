"""What CFFM++ adds: a layer that reads prototypes, and sessions that hold them, known beforehand or found on the way.

B videos or clips, P prototypes, E `decoder_hidden_size`, N = H x W feature pixels (1/8 of the image).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.segformer.modeling_segformer import eager_attention_forward

from .configuration_cffm import CFFMPlusConfig
from .frame_decoder import weight_matrix
from .prototypes import kmeans, nearest_numbers
from .video_session import State, VideoSession, exchanged

PIXELS_AT_ONCE = 2048  # what a core's cache holds of the MLP; all 6480 of a frame of 480 x 864 take a third more time


class PrototypeAttention(GradientCheckpointingLayer):
    """Cross-attention with a residual, then an MLP with another; the same norm for pixels and prototypes.

    The released code cuts the target into windows first. All of them see the same keys without position biases, so
    that changes nothing and is left out.
    """

    is_causal = False  # without it transformers' SDPA hides later keys from earlier pixels

    def __init__(self, config: CFFMPlusConfig):
        super().__init__()
        width = config.decoder_hidden_size
        self.config = config
        self.scaling = (width // config.num_attention_heads) ** -0.5
        self.layernorm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.layernorm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp_in = nn.Linear(width, config.mlp_ratio * width)
        self.mlp_out = nn.Linear(config.mlp_ratio * width, width)

    def prototype_tokens(self, prototypes: Tensor) -> Tensor:
        """Prototypes [B, P, E] -> their keys and values [B, P, 2E]."""
        return self.key_value(self.layernorm_before(prototypes))

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Pixels [B, N, E] and the keys and values [B, P, 2E] of the prototypes -> pixels, enriched."""
        pixels = self.attend(pixels, tokens)
        return pixels + self.mlp_out(self.hidden(pixels))

    def attend(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """The first half of `forward`."""
        heads = self.config.num_attention_heads
        query = self.query(self.layernorm_before(pixels)).unflatten(-1, (heads, -1)).transpose(1, 2)
        key, value = tokens.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mixed, _ = attend(self, query, key, value, None, scaling=self.scaling)
        return pixels + self.output(mixed.flatten(2))

    def hidden(self, pixels: Tensor) -> Tensor:
        """What the MLP makes of pixels [B, N, E] before its second matrix: [B, N, mlp_ratio * E]."""
        return F.gelu(self.mlp_in(self.layernorm_after(pixels)))

    def classify(self, pixels: Tensor, tokens: Tensor, classifier: nn.Conv2d) -> Tensor:
        """Scores [B, N, K] of the enriched pixels by a 1 x 1 convolution, in two thirds of the time of both in turn.

        The second matrix of the MLP is linear, so it is multiplied by the classifier's K rows once instead of by every
        pixel, and pixels, which do not know each other, go through in blocks.
        """
        matrix = classifier.weight[:, :, 0, 0]
        folded, bias = matrix @ weight_matrix(self.mlp_out.weight), matrix @ self.mlp_out.bias
        if classifier.bias is not None:
            bias = bias + classifier.bias
        scores = []
        for block in pixels.split(PIXELS_AT_ONCE, dim=1):
            enriched = self.attend(block, tokens)
            scores.append(F.linear(enriched, matrix, bias) + F.linear(self.hidden(enriched), folded))
        return torch.cat(scores, dim=1)


class PrototypeSession(VideoSession):
    """[`VideoSession`] with keys and values of the prototypes, which every frame that has references uses as well.

    Args:
        frame_offsets: Those of the model's config.
        prototypes: Keys and values of the prototypes of each video, one tensor [B, P, 2E]. None: the session is that
            of CFFM.
    """

    def __init__(self, frame_offsets: Sequence[int], prototypes: State | None = None):
        super().__init__(frame_offsets)
        self.prototypes = prototypes

    def reset(self) -> None:
        """Forget everything, the prototypes too: they are of this video. For another one make a new session."""
        super().reset()
        self.prototypes = None

    def references(self) -> tuple[State, ...] | None:
        """As in the parent, with the prototypes at the end."""
        references = super().references()
        return references if references is None or self.prototypes is None else (*references, self.prototypes)

    def check(self, shape: torch.Size) -> None:
        """As in the parent; there must be as many videos as sets of prototypes."""
        super().check(shape)
        if self.prototypes is not None and len(self.prototypes[0]) != shape[0]:
            raise ValueError(
                f"This session has the prototypes of {len(self.prototypes[0])} videos. Received: {shape[0]} frames"
            )

    def held(self) -> list[State]:
        """As in the parent, with the prototypes."""
        return [*super().held(), *([] if self.prototypes is None else [self.prototypes])]

    def replace(self, changed: dict[int, Tensor]) -> None:
        """As in the parent, with the prototypes."""
        super().replace(changed)
        if self.prototypes is not None:
            self.prototypes = exchanged(self.prototypes, changed)


class OnlinePrototypeSession(VideoSession):
    """[`VideoSession`] that finds prototypes of what it has seen so far: k-means, a frame at a time.

    The first frame is clustered; of every later one each centre moves to the mean of its points of all frames, as long
    as these are not more than `most_points`, and then forgets slowly. The memory is P centres, whatever was seen.

    Args:
        frame_offsets: Those of the model's config.
        num_prototypes: P.
        centres: [B, P, E] to begin with, known beforehand.
        frozen: whether they stay as they are.
        most_points: weight of all earlier points of a centre, at most.
    """

    def __init__(
        self,
        frame_offsets: Sequence[int],
        num_prototypes: int,
        centres: Tensor | None = None,
        frozen: bool = False,
        most_points: int = 100_000,
    ):
        if frozen and centres is None:
            raise ValueError("Frozen prototypes must be known beforehand. Received: none")
        self.num_prototypes, self.frozen, self.most_points = num_prototypes, frozen, most_points
        super().__init__(frame_offsets)
        if centres is not None:
            self.clusters = centres, centres.new_ones(centres.shape[:2])

    def reset(self) -> None:
        """Forget everything, the prototypes too: they are of this video."""
        super().reset()
        self.clusters: tuple[Tensor, Tensor] | None = None

    def learn(self, features: Tensor) -> None:
        """Take the features [B, E, H, W] of a frame in."""
        if self.frozen:
            return
        videos = features.flatten(2).transpose(1, 2).float()
        if self.clusters is None:
            centres = torch.stack([kmeans(points, self.num_prototypes) for points in videos])
            self.clusters = centres, centres.new_ones(centres.shape[:2])
            return
        moved = [self._move(points, *one) for points, *one in zip(videos, *self.clusters)]
        self.clusters = torch.stack([centres for centres, _ in moved]), torch.stack([counts for _, counts in moved])

    def _move(self, points: Tensor, centres: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        members = points.new_zeros(len(points), len(centres))
        members.scatter_(1, nearest_numbers(points, centres)[:, None], 1)
        new = members.sum(dim=0)
        total = counts + new
        means = (members.T @ points + counts[:, None] * centres) / total[:, None]
        return means, total.clamp(max=self.most_points)

    def check(self, shape: torch.Size) -> None:
        """As in the parent; there must be as many videos as sets of prototypes."""
        super().check(shape)
        if self.clusters is not None and len(self.clusters[0]) != shape[0]:
            raise ValueError(
                f"This session has the prototypes of {len(self.clusters[0])} videos. Received: {shape[0]} frames"
            )

    def held(self) -> list[State]:
        """As in the parent, with the centres."""
        return [*super().held(), *([] if self.clusters is None else [self.clusters])]

    def replace(self, changed: dict[int, Tensor]) -> None:
        """As in the parent, with the centres."""
        super().replace(changed)
        if self.clusters is not None:
            self.clusters = exchanged(self.clusters, changed)  # ty: ignore[invalid-assignment]  still two
