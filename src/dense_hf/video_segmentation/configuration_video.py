"""What the configurations of CFFM and MRCFA (thesis chapters 4 and 5) have in common."""

from itertools import pairwise
from typing import Any, ClassVar, Self

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig, SegformerConfig
from transformers.configuration_utils import SubConfigSpec

from .video_bounds import BoundedConfig

# Mix Transformers of SegFormer; what is not named here is the same for all and the default of `SegformerConfig`
MIX_TRANSFORMERS = {
    "b0": {"hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2]},
    "b1": {"hidden_sizes": [64, 128, 320, 512], "depths": [2, 2, 2, 2]},
    "b2": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 6, 3]},
    "b5": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 6, 40, 3]},
}


@strict
class VideoSegmentationConfig(BoundedConfig):
    r"""
    Fields of every model that segments the last frame of a clip.

    Args:
        encoder_config (`dict` or `SegformerConfig`, *optional*):
            The encoder that every frame goes through. Defaults to MiT-B0, unless there is a `backbone_config`.
        backbone_config (`dict` or `PreTrainedConfig`, *optional*):
            Any transformers or timm backbone in its place, which must give four maps, at 1/4, 1/8, 1/16 and 1/32 of
            the frame (`out_indices`).
        freeze_backbone_batch_norm (`bool`, defaults to `True`):
            Whether the batch norms of that backbone keep what they were loaded with: a few clips tell them little.
        decoder_hidden_size (`int`, defaults to 256):
            Width E of the fused features. 256 for every encoder, also where SegFormer itself has 768 (released code).
        frame_offsets (`list[int]`, defaults to `(9, 6, 3)`):
            How many frames before the target the reference frames are, oldest first: k_1, ..., k_l in the thesis.
        classifier_dropout_prob (`float`, defaults to 0.1): Channels dropped before each classifier.
        auxiliary_loss_weight (`float`, defaults to 0.5):
            Weight of the loss on the predictions made from single frames (released code; not in the text).
        auxiliary_loss_frames (`str`, defaults to `"all"`):
            Which frames that loss looks at: `"all"`, or `"target"` where only the target has labels (Cityscapes).
        semantic_loss_ignore_index (`int`, defaults to 255): Label of pixels that no loss looks at.
    """

    sub_configs_defaults = {
        "encoder_config": SubConfigSpec(config_class=SegformerConfig, optional=True),
        "backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="timm_backbone", optional=True),
    }
    keys_to_ignore_at_inference = ["loss_dict", "auxiliary_logits", "hidden_states", "attentions"]

    backbone_defaults: ClassVar[dict[str, dict[str, Any]]] = {}

    encoder_config: dict | PreTrainedConfig | None = None
    backbone_config: dict | PreTrainedConfig | None = None
    freeze_backbone_batch_norm: bool = True
    decoder_hidden_size: int = 256
    frame_offsets: list[int] | tuple[int, ...] = (9, 6, 3)
    classifier_dropout_prob: float | int = 0.1
    auxiliary_loss_weight: float | int = 0.5
    auxiliary_loss_frames: str = "all"
    semantic_loss_ignore_index: int = 255
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        if self.encoder_config is None and self.backbone_config is None:
            self.encoder_config = SegformerConfig()
        super().__post_init__(**kwargs)

    @classmethod
    def from_backbone(cls, name: str, **fields: Any) -> Self:
        """The thesis' configuration for one of its four encoders, for example `from_backbone("b1", num_labels=124)`.

        Args:
            name: "b0", "b1", "b2" or "b5".
            fields: Fields of the configuration; they win over the thesis' values.

        Raises:
            ValueError: for another name.
        """
        if name not in MIX_TRANSFORMERS:
            raise ValueError(f"name must be one of {sorted(MIX_TRANSFORMERS)}. Received: {name!r}")
        values: dict[str, Any] = {"encoder_config": MIX_TRANSFORMERS[name]}
        return cls(**(values | cls.backbone_defaults.get(name, {}) | fields))

    @property
    def num_reference_frames(self) -> int:
        """How many frames besides the target a whole clip has."""
        return len(self.frame_offsets)

    def find_problems(self) -> list[str]:
        """What cannot work, one sentence each; models add their own."""
        problems = []
        if self.encoder_config is not None and self.backbone_config is not None:
            types = [getattr(config, "model_type", None) for config in (self.encoder_config, self.backbone_config)]
            problems.append(f"encoder_config and backbone_config exclude each other, received both, {types}")
        offsets = list(self.frame_offsets)
        if not 1 <= len(offsets) <= 32 or min(offsets) < 1 or any(a <= b for a, b in pairwise(offsets)):
            problems.append(
                f"frame_offsets must be positive and fall from oldest to newest, at most 32, received {offsets}"
            )
        if self.auxiliary_loss_frames not in ("all", "target"):
            problems.append(
                f"auxiliary_loss_frames must be 'all' or 'target', received {self.auxiliary_loss_frames!r}"
            )
        return problems

    def validate_architecture(self):
        """Part of `@strict`: one error that lists all that cannot work together."""
        if problems := self.find_problems():
            raise ValueError("; ".join(problems))
