"""Configurations of CFFM (thesis chapter 4) and CFFM++, its extension by prototypes of the whole video.

The defaults are those of the released code.
"""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict

from .configuration_video import VideoSegmentationConfig

# (receptive field r, pooling p) of the references, oldest first (thesis section 4.4.1)
COARSE_TO_FINE = ((49, 7), (20, 4), (6, 2))


@strict
class CFFMConfig(VideoSegmentationConfig):
    r"""
    Configuration of [`CFFMForVideoSemanticSegmentation`]. The fields that it shares with MRCFA are described in
    [`VideoSegmentationConfig`].

    Args:
        window_size (`int`, defaults to 7): Side s of the windows of the target, in feature pixels (1/8 of the image).
        num_mining_layers (`int`, defaults to 2):
            The thesis' N (Table 4.3). With 0 every frame is segmented alone: the SegFormer baseline of Table 4.1.
        num_attention_heads (`int`, defaults to 8): Heads of the attention over context tokens.
        reference_receptive_fields (`list[int]`, *optional*):
            r of each reference frame, a multiple of its pooling. Defaults to the last of (49, 20, 6) for up to three
            references; more of them repeat 49.
        reference_pooling (`list[int]`, *optional*):
            p of each reference frame. Defaults to the last of (7, 4, 2) for up to three references; more of them
            repeat 7. A window is split into the nearest whole number of cells a side: 7 / p = 1, 2 and 3 of them.
        target_receptive_field (`int`, defaults to 35), target_pooling (`int`, defaults to 7):
            r'_t and p'_t, the target's own pooled surroundings. The thesis says p'_t = 5; the released code pools 7.
        mlp_ratio (`int`, defaults to 4): Width of the MLP of a layer over `decoder_hidden_size` (not in Eq. 4.5).
        layer_norm_eps (`float`, defaults to 1e-5): Of the mining layers; the encoder has its own.
        motional_contexts (`bool`, defaults to `True`):
            `False` puts the target itself in the place of every reference ("static contexts", Table 4.5).
        cross_frame_mining (`bool`, defaults to `True`):
            `False` leaves the coarse-to-fine assembling alone (section 4.4.3, "Impact of CFFA and CFM"): context
            tokens are merged by learned weights per position, without queries and keys. The authors did not release
            theirs.
    """

    model_type = "cffm"
    attribute_map = {"hidden_size": "decoder_hidden_size", "num_hidden_layers": "num_mining_layers"}
    backbone_defaults: ClassVar[dict[str, dict[str, Any]]] = {
        "b0": {"num_mining_layers": 1},
        "b1": {"num_mining_layers": 2},
        "b2": {"num_mining_layers": 2},
        "b5": {"num_mining_layers": 4},  # released configs; the thesis does not say
    }

    window_size: int = 7
    num_mining_layers: int = 2
    num_attention_heads: int = 8
    reference_receptive_fields: list[int] | tuple[int, ...] | None = None
    reference_pooling: list[int] | tuple[int, ...] | None = None
    target_receptive_field: int = 35
    target_pooling: int = 7
    mlp_ratio: int = 4
    layer_norm_eps: float = 1e-5
    motional_contexts: bool = True
    cross_frame_mining: bool = True

    def __post_init__(self, **kwargs):
        farther = max(self.num_reference_frames - len(COARSE_TO_FINE), 0)
        ladder = ((*COARSE_TO_FINE[:1],) * farther + COARSE_TO_FINE)[-self.num_reference_frames :]
        if self.reference_receptive_fields is None:
            self.reference_receptive_fields = [field for field, _ in ladder]
        if self.reference_pooling is None:
            self.reference_pooling = [pooling for _, pooling in ladder]
        super().__post_init__(**kwargs)

    @property
    def context_sources(self) -> list[tuple[int, int]]:
        """(cells a window side, tokens a side) of every pooled source: the target first, then the references."""
        fields = [self.target_receptive_field, *(self.reference_receptive_fields or ())]
        poolings = [self.target_pooling, *(self.reference_pooling or ())]
        return [(self._cells(pooling), field // pooling) for field, pooling in zip(fields, poolings)]

    def _cells(self, pooling: int) -> int:
        """`window_size / pooling` to the nearest whole number, 3.5 to 3 (released code)."""
        return max((2 * self.window_size + pooling - 1) // (2 * pooling), 1)

    def find_problems(self) -> list[str]:
        """As in the parent, and what CFFM adds."""
        problems = super().find_problems()
        fields, poolings = list(self.reference_receptive_fields or ()), list(self.reference_pooling or ())
        if not len(fields) == len(poolings) == self.num_reference_frames:
            problems.append(
                f"reference_receptive_fields and reference_pooling need one value for each of "
                f"{self.num_reference_frames} reference frames, received {fields} and {poolings}"
            )
        pairs = [*zip(fields, poolings), (self.target_receptive_field, self.target_pooling)]
        if any(p < 1 or r < p or r % p for r, p in pairs):
            problems.append(f"receptive fields must be multiples of the pooling, received (r, p) = {pairs}")
        if self.decoder_hidden_size % self.num_attention_heads:
            problems.append(
                f"decoder_hidden_size ({self.decoder_hidden_size}) must be a multiple of num_attention_heads, "
                f"received {self.num_attention_heads}"
            )
        return problems


@strict
class CFFMPlusConfig(CFFMConfig):
    r"""
    Configuration of [`CFFMPlusForVideoSemanticSegmentation`]: the fields of [`CFFMConfig`] and those of the branch.

    Args:
        num_prototypes (`int`, defaults to 100): Cluster centres per video that `find_prototypes` makes.
        num_prototype_frames (`int`, defaults to 10): Frames, spread over the video, whose features are clustered.
        prototype_weight (`float`, defaults to 0.5): Weight of the branch's logits beside those of CFFM.
    """

    model_type = "cffm_plus"

    num_prototypes: int = 100
    num_prototype_frames: int = 10
    prototype_weight: float | int = 0.5

    def find_problems(self) -> list[str]:
        """As in the parent, and what the branch adds."""
        problems = super().find_problems()
        if self.num_mining_layers < 1 or not self.motional_contexts:
            problems.append(
                "the branch is added to a CFFM that looks at other frames: num_mining_layers must be at least 1 and "
                f"motional_contexts true, received {self.num_mining_layers} and {self.motional_contexts}"
            )
        return problems


__all__ = ["CFFMConfig", "CFFMPlusConfig"]
