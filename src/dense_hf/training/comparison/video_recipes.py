"""How each video model learns from a few hundred frames on one CPU, under one budget (Tables 4.1, 4.5, 5.6).

Same for all: clips and what happens to them, steps, batch, and the backbone, which has ImageNet weights and is not
trained. Half of all frames are damaged and half of the clips are made of one still, for references tell nothing that
the target does not until frames are lost. Heads are narrow: 64 channels. What a method is stays: how it uses other
frames, its loss, its optimizer.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from .backbones import PACKAGED, pixel_values, timm_backbone

FRAME_OFFSETS = [3, 2, 1]
MOST_CACHED_BYTES = 2**29  # of decoded frames and their labels, in memory: 436 of 640 x 480
_PYRAMID, _DILATED = (4, 8, 16, 32), (16, 32)  # strides of the maps that a method reads, before dilation
_CFFM = {"decoder_hidden_size": 64, "frame_offsets": FRAME_OFFSETS, "num_mining_layers": 1, "num_attention_heads": 4}
_MRCFA = {"decoder_hidden_size": 64, "frame_offsets": FRAME_OFFSETS, "token_selection_ratio": 0.8}
_TCB = {"hidden_size": 64, "frame_offsets": FRAME_OFFSETS}
_NETWARP = {"hidden_size": 64, "head": "ppm"}


@dataclass(frozen=True)
class VideoBudget:
    """What is the same for every row.

    Attributes:
        steps: of the optimizer.
        batch_size: clips of a step.
        frame_size: long and short side that frames fit; crops have this size, too.
        clips: that all learn from, drawn once, whose features are kept in memory; 0: new ones in every step.
        learning_rate: None is that of the method's recipe.
        backbone: a name of timm.
        backbone_weights: as trainings take them; None is a random start, and a backbone that is trained.
    """

    steps: int = 400
    batch_size: int = 2
    frame_size: tuple[int, int] = (256, 192)
    clips: int = 320
    learning_rate: float | None = None
    backbone: str = "tf_efficientnet_lite0"
    backbone_weights: str | None = PACKAGED

    def __post_init__(self):
        numbers = {"steps": self.steps, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        numbers |= {"frame_size": min(self.frame_size)}
        problems = [f"{name}={value}" for name, value in numbers.items() if value is not None and not value > 0]
        if problems or self.clips < 0:
            raise ValueError(f"A budget has numbers above 0. Received: {', '.join(problems) or f'clips={self.clips}'}")


@dataclass(frozen=True)
class VideoRecipe:
    """A video model by the name that `--methods` has.

    Attributes:
        method: its row in `dense_hf.methods`.
        model: fields of its configuration besides the backbone.
        sgd: it learns with SGD, the head ten times as fast as the rest; others learn with AdamW.
        strides: of the maps of the backbone that it reads, before dilation.
    """

    method: str
    model: dict[str, Any]
    sgd: bool = False
    strides: tuple[int, ...] = _PYRAMID

    @property
    def learning_rate(self) -> float:
        """One that fits."""
        return 2e-3 if self.sgd else 1e-3

    @property
    def names_encoder(self) -> bool:
        """Whether its backbone is a name for segmentation_models_pytorch, and no `backbone_config`."""
        return "decoder_channels" in self.model


RECIPES: dict[str, VideoRecipe] = {
    "per_frame": VideoRecipe("cffm", _CFFM | {"num_mining_layers": 0}),
    "static": VideoRecipe("cffm", _CFFM | {"motional_contexts": False}),
    "cffm": VideoRecipe("cffm", _CFFM),
    "cffm_plus": VideoRecipe("cffm_plus", {"num_prototypes": 50}),
    "mrcfa": VideoRecipe("mrcfa", _MRCFA),
    "mrcfa_together": VideoRecipe("mrcfa", _MRCFA | {"affinity_norm": "reference", "affinity_scale": 4.0}),
    "mrcfa_ref16": VideoRecipe("mrcfa", _MRCFA | {"reference_stride": 16}),
    "pspnet": VideoRecipe("pspnet_video", {"hidden_size": 64}, sgd=True, strides=_DILATED),
    "ocrnet": VideoRecipe("ocrnet_video", {"hidden_size": 64, "key_size": 32}, sgd=True, strides=_DILATED),
    "tcb_ppm": VideoRecipe("tcb", _TCB | {"head": "ppm"}, sgd=True, strides=_DILATED),
    "tcb_ocr": VideoRecipe("tcb", _TCB | {"head": "ocr", "key_size": 32}, sgd=True, strides=_DILATED),
    "upernet": VideoRecipe("upernet", {"hidden_size": 64, "use_auxiliary_head": False}, sgd=True),
    # rates for frames of 256 pixels: with those of the library, most of what they reach is outside
    "deeplabv3plus": VideoRecipe(
        "deeplabv3plus_video", {"decoder_channels": 64, "decoder_atrous_rates": [3, 6, 9]}, sgd=True
    ),
    "netwarp": VideoRecipe("netwarp", _NETWARP, sgd=True, strides=_DILATED),
    "netwarp_dis": VideoRecipe("netwarp", _NETWARP | {"flow": "dis"}, sgd=True, strides=_DILATED),
}


def sections_of(
    recipe: VideoRecipe, budget: VideoBudget, num_places: int, frame_size: tuple[int, int] = (640, 480)
) -> dict[str, dict]:
    """A file for scripts/train_video_baseline.py: the recipe under a budget.

    Args:
        recipe: of the method.
        budget: what is the same for all.
        num_places: training videos, or the labelled frames of those that have few.
        frame_size: (width, height) of the frames as they come.
    """
    model, continues = deepcopy(recipe.model), recipe.method == "cffm_plus"
    if not continues:
        model |= _backbone(recipe, budget)
    long, short = max(budget.frame_size), min(budget.frame_size)
    fixed = budget.clips > 0
    data: dict[str, Any] = {
        "samples_per_video": max(1, -(-(budget.clips or budget.steps * budget.batch_size) // num_places)),
        "frame_cache_size": MOST_CACHED_BYTES // (4 * frame_size[0] * frame_size[1]),
        "fixed_clips": fixed,
        "feature_cache": fixed and budget.backbone_weights is not None,
        "scale": [long, short],
        "scale_factors": [1.0, 1.5],
        "crop_size": [short, long] if frame_size[0] >= frame_size[1] else [long, short],
        "brightness": 16,
        "contrast": [0.8, 1.2],
        "saturation": [0.8, 1.2],
        "hue": 4,
        "damage": 0.5,
        "near_clips": 0.5,
    }
    if not continues:
        data |= pixel_values(budget.backbone, budget.backbone_weights) | {"test_scale": [long, short]}
    return {"model": model, "data": data, "training": _training(recipe, budget)}


def _backbone(recipe: VideoRecipe, budget: VideoBudget) -> dict[str, Any]:
    config = timm_backbone(budget.backbone, recipe.strides)
    if recipe.strides == _DILATED:
        config["output_stride"] = 8
    fields: dict[str, Any] = {"encoder_name": f"tu-{budget.backbone}"}
    if not recipe.names_encoder:
        fields = {"backbone_config": config}
    if budget.backbone_weights is not None:
        fields |= {"backbone_weights": budget.backbone_weights, "freeze_backbone": True}
    return fields


def _training(recipe: VideoRecipe, budget: VideoBudget) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": budget.batch_size,
        "learning_rate": budget.learning_rate or recipe.learning_rate,
        "max_steps": budget.steps,
        "warmup_steps": budget.steps // 10,
        "save_strategy": "steps",
        "save_steps": max(1, budget.steps // 4),
        "save_total_limit": 1,
        "logging_steps": max(1, budget.steps // 20),
    } | ({} if recipe.sgd else {"head_lr_factor": 1})
