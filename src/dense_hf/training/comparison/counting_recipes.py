"""How each counter of Table 2.3 learns from 20 to 700 pictures on one CPU, under one budget.

Same for all: crops and how they are turned, steps, batch, schedule, Adam, and the backbone, which has ImageNet weights
and is not trained, where the method has a backbone that can be exchanged. Heads are a quarter as wide as released.
What a method is stays: its loss, how it enlarges features, its activation, its neck, its points. MCNN, DSSI-Net, MPS
and LCFCN are networks of their own, which start from random weights, and are narrower than released.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from ...counting.configuration_density_counter import METHODS
from .backbones import PACKAGED, pixel_values, timm_backbone

CROPS_PER_EPOCH = 800
MEASURED_STEPS = (2, 12)  # two short trainings, whose difference in time is that of a step


@dataclass(frozen=True)
class Budget:
    """What is the same for every row.

    Attributes:
        steps: of the optimizer; None: as many as fit into `minutes`.
        minutes: of a training, about; each method makes the steps that fit on this machine.
        batch_size: crops of a step.
        crop_size: side of a crop in pixels.
        learning_rate: None is that of the method's recipe.
        backbone: a name of timm.
        backbone_weights: as trainings take them; None is a random start, and a backbone that is trained.
        upright: whether pictures have an up and a down, so that only left and right are exchanged.
    """

    steps: int | None = 400
    minutes: float | None = None
    batch_size: int = 12
    crop_size: int = 128
    learning_rate: float | None = None
    backbone: str = "tf_efficientnet_lite0"
    backbone_weights: str | None = PACKAGED
    upright: bool = False

    def __post_init__(self):
        numbers = {"steps": self.steps, "minutes": self.minutes, "batch_size": self.batch_size}
        numbers |= {"crop_size": self.crop_size, "learning_rate": self.learning_rate}
        if problems := [f"{name}={value}" for name, value in numbers.items() if value is not None and not value > 0]:
            raise ValueError(f"A budget has numbers above 0. Received: {', '.join(problems)}")
        if (self.steps is None) == (self.minutes is None):
            raise ValueError(f"A budget is of steps or minutes. Received: {self.steps} and {self.minutes}")


@dataclass(frozen=True)
class Recipe:
    """A counter by the name that `--methods` has.

    Attributes:
        method: its row in `dense_hf.methods`.
        model: fields of its configuration besides the backbone.
        strides: of the feature maps that it reads of the backbone; none: it has a network of its own.
        learning_rate: that fits.
        training: other options of its training.
        options: of its section `model` that are no fields.
        data: other options of its data and processor.
    """

    method: str
    model: dict[str, Any]
    strides: tuple[int, ...] = (16,)
    learning_rate: float = 5e-4
    training: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


_SMALL_TRANSFORMER: dict[str, Any] = {
    "d_model": 96,
    "density_hidden_size": 64,
    "encoder_layers": 1,
    "encoder_ffn_dim": 384,
    "decoder_layers": 2,
    "decoder_ffn_dim": 384,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "density_loss_coefficient": 0.3,
    "position_scale": 4,
    "position_temperature": 20,
    "tied_position_start": True,
    "query_grid": True,
    "feature_norm": True,
}
_READOUT = {"local_readout": True, "point_cost": 25}
_SLOW_DENSITY = {"lr_factors": {"density_branch.": 0.06}}
_AT_MEAN = {"start_at_mean_density": True}
_NARROW = [[16, 16], [32, 32], [48, 48, 48], [64, 64, 64], [64, 64, 64]]
_HEAD = {"head_channels": [64, 32], "freeze_backbone_batch_norm": True}


def _density(name: str, **fields: Any) -> Recipe:
    model = {"processor_settings": {}} | deepcopy(METHODS[name]) | _HEAD
    if "head_dilation" in model:  # the map of their VGG has stride 8, as ours has when it is enlarged
        model |= {"head_channels": [64, 64, 64, 32], "upsample": "bilinear", "initializer_range": None}
    training = {"lr_factors": {"kernel_generator.": 0.2}} if name == "kdmg" else {}
    return Recipe("density_counter", model | fields, training=training)


_IOCFORMER = Recipe("iocformer", _SMALL_TRANSFORMER | _READOUT, training=_SLOW_DENSITY, options=_AT_MEAN)
RECIPES: dict[str, Recipe] = {
    "iocformer": _IOCFORMER,
    "iocformer_by_density": replace(_IOCFORMER, data={"count_by": "density"}),
    "iocformer_thesis": Recipe(
        "iocformer",
        _SMALL_TRANSFORMER,
        training=_SLOW_DENSITY,
        options=_AT_MEAN,
    ),
    "regression": Recipe(
        "iocformer",
        _SMALL_TRANSFORMER | _READOUT | {"density_branch": False},
    ),
    "cltr": Recipe("iocformer", _SMALL_TRANSFORMER | {"density_branch": False}),
    "density_branch": Recipe(
        "iocformer",
        _SMALL_TRANSFORMER | {"regression_branch": False},
        learning_rate=1e-4,  # at 5e-4 its ReLUs close
        options=_AT_MEAN,
    ),
    "p2pnet": Recipe(
        "p2pnet",
        {"hidden_size": 64, "size_divisor": 32, "compat": False, "freeze_backbone_batch_norm": True},
        strides=(8, 16),
    ),
    "csrnet": _density("csrnet"),
    "can": _density("can"),
    "can_commissarma": _density("can_commissarma"),
    "bl": _density("bl"),
    "noisycc": _density("noisycc", initializer_range=None),
    "dmcount": _density("dmcount"),
    "gl": _density("gl", initializer_range=None),
    "kdmg": _density("kdmg"),
    "mcnn": Recipe("mcnn", {}, strides=(), learning_rate=1e-4),
    "man": Recipe(
        "man",
        {
            "encoder_layers": 2,
            "encoder_ffn_dim": 384,
            "head_channels": [64, 32],
            "processor_settings": {"max_part_side": 3584},
            "freeze_backbone_batch_norm": True,
        },
    ),
    "mps": Recipe(
        "mspsnet",
        {
            "stage_channels": _NARROW[:4],
            "branch_channels": [[64, 64, 32], [48, 48, 32], [32, 32, 32]],
            "initializer_range": 0.1,  # with 0.01, layers this narrow let nothing through: it learned a constant
        },
        strides=(),
    ),
    "dssinet": Recipe(
        "dssinet",
        {
            "stage_channels": _NARROW[:4],
            "head_channels": 32,
            # maps then begin as large as targets are: from maps of 0 (0.01) or hundreds of times larger (0.1) it
            # came to maps of 0 and stayed there, and this rate was better than 5e-4 (docs/results.md, nuclei)
            "initializer_range": 0.045,
            "processor_settings": {"size_divisor": 32, "resize_to_multiple": True},
        },
        strides=(),
        learning_rate=1e-4,
    ),
    "lcfcn": Recipe(
        "lcfcn",
        {"stage_channels": _NARROW, "fc_channels": 128},
        strides=(),
    ),
}


def backbone_fields(budget: Budget, strides: tuple[int, ...]) -> dict[str, Any]:
    """`backbone_config` with maps of these strides, and the number of its stages that are not trained.

    Raises:
        ValueError: as [`timm_backbone`].
    """
    config = timm_backbone(budget.backbone, strides)
    frozen = 0 if budget.backbone_weights is None else config["out_indices"][-1] + 1
    return {"backbone_config": config, "num_frozen_backbone_stages": frozen}


def sections_of(
    recipe: Recipe, budget: Budget, num_images: int, steps: int | None = None
) -> dict[str, dict[str, Any]]:
    """A file for scripts/train_counter.py: the recipe under a budget, for some number of training images.

    Args:
        recipe: of the method.
        budget: what is the same for all.
        num_images: that it learns from.
        steps: for a budget of minutes.
    """
    model, data = deepcopy(recipe.model) | dict(recipe.options), _crops(budget, num_images)
    with_tiles = recipe.method == "iocformer"
    if with_tiles:
        model["tile_size"] = budget.crop_size
        data["tile_overlap"] = budget.crop_size // 2
        if model.get("regression_branch", True):
            model["num_queries"] = (budget.crop_size // 16) ** 2  # one for each cell of the feature map
    else:
        data["crop_size"] = budget.crop_size
    if recipe.strides:
        model |= backbone_fields(budget, recipe.strides)
        data |= pixel_values(budget.backbone, budget.backbone_weights) | {
            "feature_cache": budget.backbone_weights is not None
        }
        if budget.backbone_weights is not None:
            model["backbone_weights"] = budget.backbone_weights
    steps = steps or budget.steps or MEASURED_STEPS[0]
    crops = num_images * data["samples_per_image"]
    return {"model": model, "data": data | recipe.data, "training": _training(recipe, budget, steps, crops)}


def _crops(budget: Budget, num_images: int) -> dict[str, Any]:
    turned = {"vertical_flip": 0.0, "rotation": 0.0} if budget.upright else {"vertical_flip": 0.5, "rotation": 0.75}
    return {
        "fixed_crops": True,
        "samples_per_image": max(1, round(CROPS_PER_EPOCH / num_images)),
        "image_cache_size": 700,
        "horizontal_flip": 0.5,
        **turned,
        "scale": 0.0,
        "grayscale": 0.0,
    }


def _training(recipe: Recipe, budget: Budget, steps: int, crops: int) -> dict[str, Any]:
    steps_per_epoch = -(-crops // budget.batch_size)
    options: Mapping[str, Any] = {
        "per_device_train_batch_size": budget.batch_size,
        "learning_rate": budget.learning_rate or recipe.learning_rate,
        "weight_decay": 1e-4,
        "warmup_steps": steps // 8,
        "max_steps": steps,
        "lr_milestones": [0.7 * steps / steps_per_epoch],
        "lr_decay": 0.2,
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "save_strategy": "steps",
        "save_steps": max(1, steps // 4),
        "save_total_limit": 1,
        "logging_steps": max(1, steps // 20),
    }
    return dict(options) | recipe.training
