"""How each classifier of chapter 3 learns from a few hundred images on one CPU, under one budget (Tables 3.2, 3.4).

Same for all: pairs and what happens to them, steps, batch, learning rate, and the backbone, which has ImageNet weights
and is not trained. The numbers are those of scripts/configs/mcis/crops.yaml; rows differ in fields of the model and in
how its maps are made.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from .backbones import PACKAGED, pixel_values, timm_backbone

STRIDE = 16  # of the map that classifiers read, and segmenters before dilation
MOST_CACHED_BYTES = 2**29  # of decoded images, in memory
RELEASED_CROP = 321  # side of the segmenter's, unless images are smaller
# Of the backbone's features: their standard deviation is 5, and a softmax of products of them is one-hot. Of others it
# is not known.
FEATURE_SCALES = {PACKAGED: 0.2}
PSEUDO_LABELS: dict[str, Any] = {"min_object_share": 0.0}
# Without a look at masks nothing says how strong maps are: a score of the background is chosen for each row
SCORES = tuple(round(0.05 * number, 2) for number in range(20))
_SINGLE, _MULTI = {"num_references": 0}, {"num_references": 3}


@dataclass(frozen=True)
class WeakBudget:
    """What is the same for every row.

    Attributes:
        steps: of the classifier's optimizer.
        batch_size: pairs of a step.
        image_size: side of the square that pictures are resized to.
        segmenter_steps: of a small DeepLab that learns from each row's masks of the training pictures; 0: none.
        learning_rate: None is that of the recipe.
        backbone: a name of timm.
        backbone_weights: as trainings take them; None is a random start, and a backbone that is trained.
    """

    steps: int = 400
    batch_size: int = 5
    image_size: int = 256
    segmenter_steps: int = 0
    learning_rate: float | None = None
    backbone: str = "tf_efficientnet_lite0"
    backbone_weights: str | None = PACKAGED

    def __post_init__(self):
        names = ("steps", "batch_size", "image_size", "learning_rate")
        numbers = {name: value for name in names if (value := getattr(self, name)) is not None}
        problems = [f"{name}={value}" for name, value in numbers.items() if not value > 0]
        if problems or self.segmenter_steps < 0:
            received = ", ".join(problems) or f"segmenter_steps={self.segmenter_steps}"
            raise ValueError(f"A budget has numbers above 0. Received: {received}")


@dataclass(frozen=True)
class WeakRecipe:
    """A way from labels to masks, by the name that `--methods` has.

    Attributes:
        model: fields of `MCISConfig` besides the backbone.
        localization: fields of `LocalizationSettings`.
        scaled: whether features are made smaller, see `FEATURE_SCALES`.
    """

    model: dict[str, Any] = field(default_factory=dict)
    localization: dict[str, Any] = field(default_factory=lambda: _SINGLE)
    scaled: bool = False


_BASIC = {"use_co_attention": False, "use_contrastive_co_attention": False}
_COSINE = {"affinity": "cosine", "affinity_scale": 20.0}
_GATE = {"co_attention_gate": "similarity"}
# Chosen by masks of validation crops of CamVid, seed 1, multi-round: 28.6 mIoU; a scale of 20 has 27.1
_ONE_HEAD = {"affinity": "cosine", "affinity_scale": 100.0, "shared_class_head": True}
_FULL = {
    "mcis": WeakRecipe(),
    "mcis_scaled": WeakRecipe(scaled=True),
    "mcis_cosine": WeakRecipe(_COSINE, scaled=True),
    "mcis_gate": WeakRecipe(_GATE),
    "mcis_cosine_gate": WeakRecipe(_COSINE | _GATE, scaled=True),
    "mcis_one_head": WeakRecipe(_ONE_HEAD, scaled=True),
}
RECIPES: dict[str, WeakRecipe] = {
    "basic": WeakRecipe(_BASIC),
    "basic_scaled": WeakRecipe(_BASIC, scaled=True),
    "co_attention": WeakRecipe({"use_contrastive_co_attention": False}, _MULTI),
    **_FULL,
    **{f"{name}_multi": replace(recipe, localization=_MULTI) for name, recipe in _FULL.items()},
    "mcis_contrastive_maps": WeakRecipe(localization=_MULTI | {"use_contrastive": True}),
}


def sections_of(
    recipe: WeakRecipe,
    budget: WeakBudget,
    num_images: int,
    image_size: tuple[int, int] = (128, 128),
    background_score: float | None = None,
) -> dict[str, dict[str, Any]]:
    """A file for scripts/run_weak_pipeline.py, and for the script of each step: the recipe under a budget.

    Args:
        recipe: of the row.
        budget: what is the same for all.
        num_images: training images.
        image_size: (width, height) of the images as they come.
        background_score: of the pseudo labels, once it is chosen.
    """
    width, height = image_size
    cached = {"image_cache_size": min(num_images, MOST_CACHED_BYTES // (3 * width * height))}
    score = {} if background_score is None else {"background_score": background_score}
    sections: dict[str, dict[str, Any]] = {
        "classifier": _classifier(recipe, budget, num_images, cached),
        "localization": dict(recipe.localization),
        "pseudo_labels": PSEUDO_LABELS | score,
    }
    if budget.segmenter_steps:
        window = windows_of(image_size)
        sections["segmenter"] = _segmenter(budget, window, cached)
        sections["evaluation"] = {**window, "scales": [1.0], "flip": False, "crf": False}
    return sections


def windows_of(image_size: tuple[int, int]) -> dict[str, int]:
    """Side of the squares that a segmenter sees of images (width, height), and from one to the next, in pixels.

    A multiple of 8 and one more, which holds the image, but no more than is released.
    """
    window = min(RELEASED_CROP, 8 * -(-max(image_size) // 8) + 1)
    return {"window": window, "stride": 2 * window // 3}


def _classifier(
    recipe: WeakRecipe, budget: WeakBudget, num_images: int, cached: dict[str, int]
) -> dict[str, dict[str, Any]]:
    config: dict[str, Any] = {"backbone_config": timm_backbone(budget.backbone, (STRIDE,))}
    if budget.backbone_weights is not None:
        config |= {"backbone_weights": budget.backbone_weights, "freeze_backbone": True}
    config |= {"hidden_size": 64, "scale_views": [0.75]}
    # the second epoch, if there is one
    config["contrastive_start_epoch"] = int(budget.steps * budget.batch_size >= 2 * num_images)
    if recipe.scaled:
        config["feature_scale"] = FEATURE_SCALES.get(str(budget.backbone_weights), 1.0)
    pixels = pixel_values(budget.backbone, budget.backbone_weights)
    return {
        "model": config | recipe.model,
        "data": {"image_size": budget.image_size, **cached, **pixels},
        "training": {
            "per_device_train_batch_size": budget.batch_size,
            "learning_rate": budget.learning_rate or 1e-3,
            "lr_schedule": "poly",
            "max_grad_norm": 1.0,
            **_length(budget.steps),
        },
    }


def _segmenter(budget: WeakBudget, window: dict[str, int], cached: dict[str, int]) -> dict[str, dict[str, Any]]:
    config: dict[str, Any] = {
        "backbone_config": timm_backbone(budget.backbone, (STRIDE,)) | {"output_stride": 8},
        "head_hidden_size": 64,
    }
    if budget.backbone_weights is not None:
        config["backbone_weights"] = budget.backbone_weights
    return {
        "model": config,
        "data": {
            "crop_size": window["window"],
            "do_flip_channel_order": False,
            "do_rescale": True,
            **cached,
            **pixel_values(budget.backbone, budget.backbone_weights),
        },
        "training": {"per_device_train_batch_size": 4, "learning_rate": 2e-3, **_length(budget.segmenter_steps)},
    }


def _length(steps: int) -> dict[str, Any]:
    return {
        "max_steps": steps,
        "save_strategy": "steps",
        "save_steps": max(1, steps // 4),
        "save_total_limit": 1,
        "logging_steps": max(1, steps // 20),
    }
