"""IOCFormer configuration (thesis section 2.4; the defaults are those of the released code, thesis section 2.5.1)."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .counting_bounds import DENSITY_LOSSES, CounterConfig

DENSITY_FUSIONS = ("released", "thesis", "merge", "merge2", "none")
IOCFORMER_DENSITY_LOSSES = ("count", *(name for name in DENSITY_LOSSES if name != "kernel_generation"))


@strict
class IOCFormerConfig(CounterConfig):
    r"""
    Configuration of [`IOCFormerForObjectCounting`].

    Args:
        backbone_config (`dict` or `PreTrainedConfig`, *optional*):
            Any transformers or timm backbone; its last feature map is used. Defaults to a randomly initialised timm
            ResNet-50 with output stride 16 (IOCFormer). With output stride 32 and `density_branch=False` the model is
            CLTR.
        freeze_backbone_batch_norm (`bool`, defaults to `True`):
            Batch norm of the backbone uses stored statistics and is not trained, as in the released code.
        num_frozen_backbone_stages (`int`, defaults to 2):
            How many leading parts of the backbone are not trained: 1 is the stem, 2 the stem and the first stage
            (released), 0 trains all, and as many as the backbone has freeze it.
        num_queries (`int`, defaults to 700): Object queries, the most points that one tile can have.
        d_model (`int`, defaults to 256): Width of the transformer; a multiple of 4 and of both head numbers.
        encoder_layers (`int`, defaults to 6): The thesis' L (Table 2.6).
        density_branch (`bool`, defaults to `True`): Whether the density branch (Eq. 2.1) exists.
        regression_branch (`bool`, defaults to `True`):
            Whether the transformer and its heads exist. `False` leaves the density branch alone (Table 2.5, row
            "DB"): the count is the sum of the map.
        density_fusion (`str`, defaults to `"released"`):
            How density features enter the encoder. `"released"`: the code behind the published numbers; `"thesis"`:
            Eq. 2.2-2.3 read literally; `"merge"`, `"merge2"`: two earlier variants of the released code; `"none"`:
            a plain encoder (Table 2.5, "DB+Regression" without DETE).
        density_hidden_size (`int`, defaults to 128): Channels of the density-aware features F_d.
        tile_size (`int`, defaults to 256): Side in pixels of the square tiles that the model sees.
        position_scale (`float`, *optional*):
            Waves a tile of the fastest part of the position codes, with queries and tokens in one order and tokens at
            the centers of their cells. None is the released code: one wave, two orders, far corners. For training on
            few images; see `positions_iocformer.py`.
        position_temperature (`float`, defaults to 10000): How much slower the slowest part of a code is.
        tied_position_start (`bool`, defaults to `False`):
            Whether the decoder's attention starts near the references. Released: it starts anywhere.
        query_grid (`bool`, defaults to `False`):
            Whether the references start on a grid. Released: they start at random around the middle.
        feature_norm (`bool`, defaults to `False`): A layer norm of each token before the encoder. Released: none.
        local_readout (`bool`, defaults to `False`):
            A deviation from the thesis and the released code, for points that move with few training images: a query
            starts as the encoder's output at its reference and around it (a convolution), not as zeros; its point is
            an offset from there in pixels, not in logits (of which near the border of a tile many are few pixels);
            and it is matched with objects by its reference, not by its point.
        class_cost, point_cost (`float`, defaults to 2 and 5): Weights of the matching cost.
        class_loss_coefficient, point_loss_coefficient, density_loss_coefficient (`float`, defaults to 2, 5 and 0.5):
            Weights of L_c, L_l and L_D (Eq. 2.4, lambda is the last).
        density_loss (`str`, defaults to `"count"`):
            L_D: `"count"`, the error of the count (Eq. 2.1), or a loss of the baselines that also says where objects
            are: `"bayesian"`, `"noisy_annotation"`, `"distribution_matching"`, `"generalized"`, `"sum_of_squares"`.
        density_loss_options (`dict`, *optional*):
            Options of that loss, a function of `dense_hf.counting.density_losses`.
        focal_alpha, focal_gamma (`float`, defaults to 0.25 and 2): Focal loss of L_c.
        auxiliary_loss (`bool`, defaults to `True`): The same losses after each decoder layer but the last.
    """

    model_type = "iocformer"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="timm_backbone",
            init_kwargs={"backbone": "resnet50", "features_only": True, "out_indices": [4], "output_stride": 16},
        ),
    }
    counts_classes = True
    keys_to_ignore_at_inference = ["loss_dict", "auxiliary_outputs"]
    attribute_map = {
        "hidden_size": "d_model",
        "num_attention_heads": "encoder_attention_heads",
        "num_hidden_layers": "encoder_layers",
    }

    backbone_config: dict | PreTrainedConfig | None = None
    freeze_backbone_batch_norm: bool = True
    num_frozen_backbone_stages: int = 2
    num_channels: int = 3
    num_queries: int = 700
    d_model: int = 256
    encoder_layers: int = 6
    encoder_attention_heads: int = 8
    encoder_ffn_dim: int = 2048
    decoder_layers: int = 6
    decoder_attention_heads: int = 8
    decoder_ffn_dim: int = 2048
    activation_function: str = "relu"
    dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    activation_dropout: float | int = 0.1
    density_branch: bool = True
    regression_branch: bool = True
    density_fusion: str = "released"
    density_hidden_size: int = 128
    tile_size: int = 256
    position_scale: float | int | None = None
    position_temperature: float | int = 10000
    tied_position_start: bool = False
    query_grid: bool = False
    feature_norm: bool = False
    local_readout: bool = False
    class_cost: float | int = 2
    point_cost: float | int = 5
    class_loss_coefficient: float | int = 2
    point_loss_coefficient: float | int = 5
    density_loss_coefficient: float | int = 0.5
    density_loss: str = "count"
    density_loss_options: dict | None = None
    focal_alpha: float | int = 0.25
    focal_gamma: float | int = 2
    auxiliary_loss: bool = True
    is_encoder_decoder: bool = True

    @property
    def uses_density_fusion(self) -> bool:
        """Whether density features enter the encoder."""
        return self.density_branch and self.regression_branch and self.density_fusion != "none"

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        problems = []
        if self.density_fusion not in DENSITY_FUSIONS:
            problems.append(f"density_fusion must be one of {DENSITY_FUSIONS}, received {self.density_fusion!r}")
        if self.density_loss not in IOCFORMER_DENSITY_LOSSES:
            problems.append(f"density_loss must be one of {IOCFORMER_DENSITY_LOSSES}, received {self.density_loss!r}")
        if not (self.density_branch or self.regression_branch):
            problems.append("density_branch and regression_branch are both False: nothing is left to count with")
        if self.d_model % 4:
            problems.append(f"d_model must be a multiple of 4 (sine position embeddings), received {self.d_model}")
        for name in ("encoder_attention_heads", "decoder_attention_heads"):
            heads = getattr(self, name)
            if self.d_model % heads:
                problems.append(f"d_model ({self.d_model}) must be a multiple of {name}, received {heads}")
        if self.density_fusion == "thesis" and self.encoder_layers < 2:
            problems.append("density_fusion='thesis' needs encoder_layers >= 2 (Eq. 2.3 runs L - 1 layers)")
        if problems:
            raise ValueError("; ".join(problems))


__all__ = ["IOCFormerConfig"]
