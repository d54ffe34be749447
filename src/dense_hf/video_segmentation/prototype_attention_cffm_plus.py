"""The layer that CFFM++ adds: every pixel of the target attends to the prototypes of its video.

B clips, N pixels of the target's features (1/8 of the image), P prototypes, E `decoder_hidden_size`.
"""

from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.segformer.modeling_segformer import eager_attention_forward

from .configuration_cffm_plus import CFFMPlusConfig


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
        heads = self.config.num_attention_heads
        query = self.query(self.layernorm_before(pixels)).unflatten(-1, (heads, -1)).transpose(1, 2)
        key, value = tokens.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mixed, _ = attend(self, query, key, value, None, scaling=self.scaling)
        pixels = pixels + self.output(mixed.flatten(2))
        return pixels + self.mlp_out(F.gelu(self.mlp_in(self.layernorm_after(pixels))))
