"""What of a method depends on its config: its title in tables, and the thesis' configuration for an encoder.

For the rows of `methods.py`; nothing here imports what takes time before it is asked.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def iocformer_title(config: Any) -> str:
    """IOCFormer, or what is left of it in Tables 2.5 and 2.6."""
    if not config.regression_branch:
        return "Density branch of IOCFormer"
    return "IOCFormer" if config.density_branch else "CLTR"


def density_title(config: Any) -> str:
    """The method of Table 2.3 by what it alone has: the neck of CAN, else the loss."""
    if config.neck is not None:
        return "CAN"
    titles = {
        "bayesian": "BL",
        "noisy_annotation": "NoisyCC",
        "distribution_matching": "DM-Count",
        "generalized": "GL",
        "kernel_generation": "KDMG",
    }
    return titles.get(config.loss_type, "CSRNet")


def cffm_title(config: Any) -> str:
    """CFFM, or what is left of it in Tables 4.1 and 4.5; the last word is what the Hub finds it by."""
    if not config.num_mining_layers:
        return "Per-frame baseline of CFFM"
    return "CFFM" if config.motional_contexts else "Static-context CFFM"


def deeplab_title(config: Any) -> str:
    """Its head gives the name."""
    return "DeepLab-LargeFOV" if config.head == "largefov" else "DeepLabV3"


def clip_config(config_class: Any, backbone: str, fields: Mapping[str, Any]) -> "PreTrainedConfig":
    """CFFM, CFFM++ or MRCFA on a Mix Transformer.

    Raises:
        ValueError: for another name, or fields with another backbone.
    """
    if fields.get("backbone_config") is not None:
        raise ValueError(f"backbone and backbone_config exclude each other. Received: backbone={backbone}")
    encoder = mix_transformer(backbone) | fields.get("encoder_config", {})
    return config_class.from_backbone(backbone, **(dict(fields) | {"encoder_config": encoder}))


def segformer_config(config_class: Any, backbone: str, fields: Mapping[str, Any]) -> "PreTrainedConfig":
    """SegFormer on a Mix Transformer. 256 for every encoder: parameters of the tables fit no other width."""
    return config_class(**({"decoder_hidden_size": 256} | mix_transformer(backbone) | dict(fields)))


def mix_transformer(backbone: str) -> dict[str, Any]:
    """Sizes of an encoder of the thesis.

    Raises:
        ValueError: for another name.
    """
    from .video_segmentation.configuration_video import MIX_TRANSFORMERS

    if backbone not in MIX_TRANSFORMERS:
        raise ValueError(f"backbone must be one of {sorted(MIX_TRANSFORMERS)}. Received: {backbone!r}")
    return MIX_TRANSFORMERS[backbone]
