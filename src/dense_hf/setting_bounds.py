"""Bounds of the numbers in configurations and image processors.

They are generous, and there so that a small file cannot ask for years of work or a million gigabytes. `NAMES` decides
by the name of a field, also in the configuration of an encoder or backbone; the first pattern that fits counts.

The task folders, whose files travel with checkpoints, import it in a `try` of one small file each (`*_bounds.py`):
where dense_hf is not installed, somebody has decided to run the code beside a checkpoint, and it could do anything.
"""

import re
from collections.abc import Mapping
from typing import Any

from huggingface_hub.dataclasses import validate_typed_dict
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from .same_names import one_name_twice

NAMES = {
    # counting
    r"num_queries": (1, 100_000),
    r"tile_size": (1, 3072),
    r"tile_overlap": (0, 3071),
    r"encoder_layers|decoder_layers": (1, 256),
    r"d_model|.*_ffn_dim|density_hidden_size": (1, 16_384),
    r"encoder_attention_heads|decoder_attention_heads": (1, 16_384),
    r".*_(cost|coefficient)|focal_.*": (0, 1e6),
    r"num_frozen_backbone_stages": (0, 256),
    r"position_scale": (1e-3, 1024),
    r"position_temperature": (1, 1e8),
    r"min_short_side": (1, 512),  # to which a small picture is enlarged
    r"max_short_side|max_part_side": (1, 16_384),
    r"parts_per_side": (1, 64),
    r"head_channels": (1, 16_384),
    r"head_dilation": (1, 64),
    r"threshold|trim": (0, 1),
    r"column_channels|stage_channels|branch_channels|fc_channels": (1, 16_384),
    r"column_kernels": (1, 255),
    r"num_rounds": (0, 64),
    r"anchor_rows|anchor_columns": (1, 64),
    r"offset_scale": (0, 1e6),
    r"density_stride": (1, 1024),
    r"sigma": (1e-6, 1e6),
    r"background_ratio": (0, 10),
    r"generated_kernel_size": (1, 63),
    r"iterations|most_ranks": (1, 100_000),
    r"scaling": (0.01, 0.99),
    r"blur|reach|regularization": (1e-6, 1e6),
    # video
    r"frame_offsets": (-100_000, 100_000),
    r"window_size|swin_window_size": (1, 32),
    r"reference_receptive_fields|reference_pooling|target_receptive_field|target_pooling": (-1024, 1024),
    r"importance_topk|num_prototypes|num_prototype_frames": (1, 4096),
    r"affinity_depth|affinity_width|num_swin_layers": (1, 256),
    r"affinity_kernel_sizes": (-255, 255),
    r"num_scales": (-3, 16),
    r"decoder_hidden_size|hidden_sizes|patch_sizes|strides|sr_ratios": (1, 16_384),
    r"num_attention_heads|num_swin_heads": (1, 16_384),
    r"size_divisor": (1, 512),
    r"pool_sizes": (-64, 64),
    r"key_size|flow_hidden_sizes|memory_size": (1, 4096),
    # weak segmentation
    r"radius": (2, 64),
    r"feature_stride|num_domains": (1, 256),
    r"contrastive_start_epoch": (0, 1_000_000),
    r"hidden_size|head_hidden_size|resnet_embedding_size": (1, 16_384),
    r"scale_views|equivariance_scale": (0, 3),
    r"(single_round_)?background_score": (0, 1),
    r"affinity_scale|feature_scale": (0, 1e6),
    r"(decoder_)?atrous_rates|multi_grid|(encoder_)?output_stride": (-1024, 1024),
    # all
    r".*_weight": (0, 1e6),
    r".*_ignore_index": (-65_535, 65_535),
    r"shortest_edge|longest_edge|height|width": (1, 4096),
    r"num_labels": (1, 65_535),
    r"resample": (0, 5),
    r".*(layers|depths|depth|blocks|stages)": (0, 256),
    r".*(dropout|_prob|drop_path_rate|drop_rate)": (0, 1),
    r".*_eps|initializer_range": (0, 1),
    r".*ratios?": (0, 1024),
    r"num_channels|chunk_size_feed_forward": (0, 1024),
    r"image_mean": (-1e6, 1e6),
    r"image_std|rescale_factor": (1e-12, 1e6),
    r".*(sizes?|dim|d_model|width|heads|strides?|kernels?|dilations?|divisor|edge|height|channels)": (0, 16_384),
}
MOST_PIXELS = 4096 * 2304  # of a picture that was resized, a frame of 4K; as many as in the largest tile
_MOST_VIEWS = 16  # of one picture
MOST_ITEMS = 65_535  # names of classes, colors
# what transformers writes beside the settings of a processor
_BESIDE_SETTINGS = {"auto_map", "feature_extractor_type", "image_processor_type", "processor_class"}


class BoundedConfig(PreTrainedConfig):
    """A configuration whose numbers are checked whenever they are set."""

    @staticmethod
    def check_settings(processor: Any, settings: Mapping[str, Any]) -> None:
        """Those of an image processor, see below; here, so that one import in a `try` brings both."""
        check_settings(processor, settings)

    def __setattr__(self, key: str, value: Any) -> None:
        if callable(getattr(type(self), key, None)) or key in ("attribute_map", "sub_configs_defaults"):
            raise ValueError(f"{key} is no setting of {type(self).__name__}. Received: {value!r:.100}")
        check_bounds(key, value)
        if key == "id2label" and isinstance(value, Mapping) and (same := one_name_twice(value.values())):
            raise ValueError(
                f"id2label must name each class once, whatever the case. Received: {same[0]!r:.100}, {same[1]!r:.100}"
            )
        super().__setattr__(key, value)


def check_bounds(name: str, value: Any) -> None:
    """Nothing, if each number of a setting, or of what is inside, has its bounds.

    Raises:
        ValueError: else, with name, bounds and value.
    """
    low, high = next((bounds for pattern, bounds in NAMES.items() if re.fullmatch(pattern, name)), (-1e12, 1e12))
    if isinstance(value, PreTrainedConfig):
        value = vars(value)
    most = _MOST_VIEWS if name == "scale_views" else MOST_ITEMS if high > 1e9 else 256
    if isinstance(value, Mapping | list | tuple) and len(value) > most:
        raise ValueError(f"{name} must not have so many items. Received: {len(value)}")
    if isinstance(value, Mapping):
        for key, item in value.items():
            # names of classes are no names of settings: one may be called "radius"
            check_bounds(name if name in ("id2label", "label2id") else str(key), item)
    elif isinstance(value, list | tuple):
        for item in value:
            check_bounds(name, item)
        if name.endswith("depths"):  # all stages together
            check_bounds(name, sum(item for item in value if isinstance(item, int)))
    elif isinstance(value, int | float) and not low <= value <= high:
        raise ValueError(f"{name} must be at least {low:,} and at most {high:,}. Received: {_brief(value)}")


def _brief(value: float) -> str:
    return str(value) if abs(value) < 1e15 or value != value else f"{'-' if value < 0 else ''}more than 1e15"


def check_settings(processor: Any, settings: Mapping[str, Any]) -> None:
    """Nothing, if an image processor knows all settings, which have the types and bounds that they need.

    Raises:
        ValueError: else.
    """
    known = processor.valid_kwargs.__annotations__.keys()
    if unknown := sorted(settings.keys() - known - _BESIDE_SETTINGS):
        raise ValueError(f"settings must be among {', '.join(sorted(known))}. Received: {', '.join(unknown)[:200]}")
    check_types(processor, settings)
    for name, value in settings.items():
        check_bounds(name, value)
    _check_work(processor, settings)


def check_types(processor: Any, settings: Mapping[str, Any]) -> None:
    """Nothing, if the settings that an image processor, ours or one of transformers, knows have the types it needs.

    Raises:
        ValueError: else.
    """
    known = processor.valid_kwargs.__annotations__.keys()
    try:
        validate_typed_dict(processor.valid_kwargs, {name: settings[name] for name in settings.keys() & known})
    except StrictDataclassError as error:
        raise ValueError(" ".join(str(error).split())) from error
    for name in ("image_mean", "image_std"):
        check_bounds(name, values := settings.get(name))
        if isinstance(values, list | tuple) and len(values) not in (1, 3):
            raise ValueError(f"{name} must be a number, 1 or 3 of them. Received: {values!r:.200}")


def pixels_of(size: Any) -> float:
    """Of a picture that an image processor resizes to its `size`, at least; 0 for what is no size."""
    sides = size.values() if isinstance(size, Mapping) else size if isinstance(size, list | tuple) else [size]
    numbers = [side for side in sides if isinstance(side, int | float) and side]
    return min(numbers) * max(numbers) if numbers else 0


def _check_work(processor: Any, settings: Mapping[str, Any]) -> None:
    """Nothing, if no setting makes a small picture a large one, or many tiles of a few pixels.

    Raises:
        ValueError: else.
    """
    most = getattr(processor, "most_pixels", MOST_PIXELS)
    if (pixels := pixels_of(settings.get("size"))) > most:
        raise ValueError(f"size must be at most {most:,} pixels. Received: {pixels:,}")
    tile, overlap = (settings.get(name, getattr(processor, name, 0)) for name in ("tile_size", "tile_overlap"))
    if overlap and tile and overlap > tile - max(1, tile // 8):
        raise ValueError(f"tile_overlap must leave an eighth of tile_size, {tile}, to each tile. Received: {overlap}")
