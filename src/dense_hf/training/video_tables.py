"""Results of an evaluation in the form of the thesis' tables: rows of 4.1 and 5.6, and the per-class Table 5.8."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ..video_segmentation.configuration_video import MIX_TRANSFORMERS
from .video_card import METRIC_NAMES, percent

TRAINING_ONLY = ("auxiliary_classifiers.",)  # of MRCFA


def backbone_name(config: PreTrainedConfig) -> str:
    """ "MiT-B1" and so on for the thesis' encoders, a dash for others."""
    encoder: Any = getattr(config, "encoder_config", config)
    for name, sizes in MIX_TRANSFORMERS.items():
        if all(list(getattr(encoder, key)) == value for key, value in sizes.items()):
            return f"MiT-{name.upper()}"
    return "-"


def count_parameters(model: PreTrainedModel) -> int:
    """Parameters that the model needs when it is used: as in the tables, without those of `TRAINING_ONLY`."""
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith(TRAINING_ONLY))


def results_row(method: str, model: PreTrainedModel, results: Mapping[str, Any]) -> str:
    """A Markdown table of one row, numbers in percent; a dash for what the masks did not allow."""
    head = ["Method", "Backbone", "Params (M)", *METRIC_NAMES.values(), "FPS (f/s)"]
    speed = results.get("frames_per_second")
    cells = [method, backbone_name(model.config), f"{count_parameters(model) / 1e6:.1f}"]
    cells += [percent(results.get(key)) for key in METRIC_NAMES]
    cells.append("-" if speed is None else f"{speed:.1f}")
    return "\n".join(["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), cells)])


def about_the_speed(device: torch.device) -> str:
    """What the number of frames per second is, and of which machine."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return (
        f"FPS: one process on {device.type} ({name}{threads}), a frame at a time, from prepared pixels to a label map "
        "of the frame's size; reading and resizing files is not in it. The thesis' numbers are of a Quadro RTX 6000."
    )


def class_table(names: Sequence[str], results: Mapping[str, Any]) -> str:
    """Table 5.8 as Markdown: IoU and accuracy of each class in percent, a dash for classes that do not occur."""
    rows = ["| class | IoU | Acc. |", "|---|---|---|"]
    values = zip(names, results["per_class_iou"], results["per_class_accuracy"], strict=True)
    rows += [f"| {name} | {_percent2(iou)} | {_percent2(accuracy)} |" for name, iou, accuracy in values]
    return "\n".join(rows)


def _percent2(share: float) -> str:
    return "-" if share != share else f"{100 * share:.2f}"
