"""The encoder that every frame goes through: the Mix Transformer of transformers, with all of its maps.

N frames, C_i channels of map i.
"""

from torch import Tensor, nn
from transformers import SegformerConfig, SegformerModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs


class FrameEncoder(SegformerModel):
    """[`SegformerModel`] that always returns the maps of its stages, with the epsilons it was trained with.

    The parent collects maps through hooks that it installs in the first call, which `torch.compile` cannot follow. And
    it leaves all norms at 1e-5, while those of blocks and stages belong to `layer_norm_eps` (1e-6).
    """

    def __init__(self, config: SegformerConfig):
        super().__init__(config)
        set_layer_norm_eps(self)

    @merge_with_config_defaults
    @capture_outputs
    def forward(self, pixel_values: Tensor, **kwargs) -> BaseModelOutput:
        """Frames [N, 3, height, width] -> `hidden_states`: maps [N, C_i, h_i, w_i], 1/4 to 1/32 of the frame."""
        maps = []
        for stage in self.stages:
            pixel_values = stage(pixel_values, **kwargs)
            maps.append(pixel_values)
        return BaseModelOutput(last_hidden_state=pixel_values, hidden_states=tuple(maps))


def set_layer_norm_eps(encoder: SegformerModel) -> None:
    """Give the norms of blocks and stages `layer_norm_eps` of the config."""
    for name, module in encoder.named_modules():
        is_shallow = "patch_embeddings" in name or "sequence_reduction" in name
        if isinstance(module, nn.LayerNorm) and not is_shallow:
            module.eps = encoder.config.layer_norm_eps
