"""The card of a trained video model, and rows of the thesis' Tables 4.1, 5.6 and 5.8 from results."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ..markdown import percent, table
from ..methods import VIDEO, methods
from ..video_segmentation.configuration_video import MIX_TRANSFORMERS
from .model_card import RunDescription, code_with_model, measured, read_results, splits_of, which_weights, write_card

METRIC_NAMES = {"mean_iou": "mIoU", "weighted_iou": "weighted IoU", "vc8": "mVC8", "vc16": "mVC16"}

_SESSION = """
session = model.new_session()
for name in ("00000001.jpg", "00000002.jpg"):
    frame = processor(Image.open(name), return_tensors="pt")["pixel_values"][:, 0]
    logits = model.segment_frame(frame, session)
"""
_PROTOTYPES = """
names = [f"{number:08d}.jpg" for number in range(48)]  # of all frames of a video, which must be known in advance
frames = [processor(Image.open(name), return_tensors="pt")["pixel_values"][:, 0] for name in names]
prototypes = model.find_prototypes(frames[number][0] for number in prototype_frame_numbers(len(frames)))
session = model.new_session(prototypes[None])
for frame in frames:
    logits = model.segment_frame(frame, session)
"""
_SINGLE_FRAMES = """```python
from transformers import pipeline

segment = pipeline("image-segmentation", model="this/repository")
segment("frame.jpg")
```"""


def write_video_card(output_dir: Path, run: RunDescription) -> None:
    """Write the card, see `write_card`."""
    results = read_results(output_dir)
    splits = splits_of(results)
    model_class = next((method.model_class for method in methods(VIDEO).values() if method.title == run.title), None)
    task, about = "video-semantic-segmentation", "Segments video with the help of earlier frames. Trained"
    if hasattr(model_class, "find_prototypes"):
        where = "from dense_hf.video_segmentation.prototypes import prototype_frame_numbers\n"
        code = code_with_model("AutoModel", _PROTOTYPES, where)
    elif model_class is None or hasattr(model_class, "new_session"):
        code = code_with_model("AutoModel", _SESSION)
    else:
        task, code = "image-segmentation", _SINGLE_FRAMES
        about = "Segments single images. The baseline of the video models, trained on the frames of clips"
    parts = [
        f"{about} with dense_hf on: **{run.dataset}**.",
        code,
        "## Results",
        results_table(splits) if splits else "None: no videos to judge by, or a run that has not come to its end.",
        which_weights(results, further=f", one run, {results.get('protocol')} protocol"),
    ]
    eval_results = measured("video-semantic-segmentation", run.dataset, splits, METRIC_NAMES)
    tags, tag_of_hub = [task, run.tag], "image-segmentation"  # the nearest of its tasks
    write_card(output_dir, run, parts, tags, unit="videos", pipeline_tag=tag_of_hub, eval_results=eval_results)


def results_table(splits: Mapping[str, Mapping[str, Any]]) -> str:
    """Numbers in percent, a row per split; a dash for what the masks did not allow."""
    rows = [
        [
            split,
            round(values["num_videos"] - values["num_skipped_videos"]),
            *(percent(values.get(key)) for key in METRIC_NAMES),
        ]
        for split, values in splits.items()
    ]
    return table(("split", "videos", *METRIC_NAMES.values()), rows)


TRAINING_ONLY = ("auxiliary_classifiers.",)  # of MRCFA


def backbone_name(config: PreTrainedConfig) -> str:
    """ "MiT-B1" and so on for the thesis' encoders, timm's name or the model type for others, a dash for none."""
    if (name := getattr(config, "encoder_name", None)) is not None:
        return name
    encoder: Any = getattr(config, "encoder_config", None) or getattr(config, "backbone_config", None) or config
    for name, sizes in MIX_TRANSFORMERS.items():
        if all(list(getattr(encoder, key, ())) == value for key, value in sizes.items()):
            return f"MiT-{name.upper()}"
    if getattr(encoder, "model_type", "") == "timm_backbone":
        return encoder.backbone
    return getattr(encoder, "model_type", "") or "-"


def count_parameters(model: PreTrainedModel) -> int:
    """Parameters that the model needs when it is used: as in the tables, without those of `TRAINING_ONLY`."""
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith(TRAINING_ONLY))


def results_row(method: str, model: PreTrainedModel, results: Mapping[str, Any]) -> str:
    """A Markdown table of one row, numbers in percent; a dash for what the masks did not allow."""
    head = ["Method", "Backbone", "Params (M)", *METRIC_NAMES.values(), "FPS (f/s)"]
    speed = results.get("frames_per_second")
    cells = [method, backbone_name(model.config), f"{count_parameters(model) / 1e6:.1f}"]
    cells += [percent(results.get(key)) for key in METRIC_NAMES]
    return table(head, [[*cells, "-" if speed is None else f"{speed:.1f}"]])


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
    values = zip(names, results["per_class_iou"], results["per_class_accuracy"], strict=True)
    return table(("class", "IoU", "Acc."), ((name, percent(iou, 2), percent(acc, 2)) for name, iou, acc in values))
