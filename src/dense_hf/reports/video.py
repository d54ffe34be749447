"""The card of a trained video model, and rows of the thesis' Tables 4.1, 5.6 and 5.8 from results."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCardData
from transformers import PreTrainedConfig, PreTrainedModel

from ..video_segmentation.configuration_video import MIX_TRANSFORMERS
from .model_card import RunDescription, how_it_was_made, measured, read_results, save_card, splits_of

METRIC_NAMES = {"mean_iou": "mIoU", "weighted_iou": "weighted IoU", "vc8": "mVC8", "vc16": "mVC16"}

_USE = """```python
import dense_hf
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

model = AutoModel.from_pretrained("this/repository").eval()
processor = AutoImageProcessor.from_pretrained("this/repository")
session = model.new_session()
for name in ("00000001.jpg", "00000002.jpg"):
    frame = processor(Image.open(name), return_tensors="pt")["pixel_values"][:, 0]
    logits = model.segment_frame(frame, session)
```"""
_USE_CFFM_PLUS = """```python
import dense_hf
from PIL import Image
from transformers import AutoImageProcessor, AutoModel
from dense_hf.video_segmentation.prototypes import prototype_frame_numbers

model = AutoModel.from_pretrained("this/repository").eval()
processor = AutoImageProcessor.from_pretrained("this/repository")
names = [f"{number:08d}.jpg" for number in range(48)]  # of all frames of a video, which must be known in advance
frames = [processor(Image.open(name), return_tensors="pt")["pixel_values"][:, 0] for name in names]
prototypes = model.find_prototypes(frames[number][0] for number in prototype_frame_numbers(len(frames)))
session = model.new_session(prototypes[None])
for frame in frames:
    logits = model.segment_frame(frame, session)
```"""
_USE_SEGFORMER = """```python
from transformers import pipeline

segment = pipeline("image-segmentation", model="this/repository")
segment("frame.jpg")
```"""


def write_video_card(output_dir: Path, run: RunDescription) -> None:
    """Write `README.md` beside the weights. All numbers come from `results.json` in the same folder.

    Without that file (a push in the middle of a run) the card says that there are no results yet.
    """
    results = read_results(output_dir)
    splits = splits_of(results)
    is_baseline = run.title == "SegFormer"
    use = {"SegFormer": _USE_SEGFORMER, "CFFM++": _USE_CFFM_PLUS}.get(run.title, _USE)
    data = ModelCardData(
        library_name="transformers",
        tags=["image-segmentation" if is_baseline else "video-semantic-segmentation", "dense_hf", run.title.lower()],
        model_name=run.title,
        eval_results=measured("video-semantic-segmentation", run.dataset, splits, METRIC_NAMES),
    )
    if is_baseline:
        about = "Segments single images. The baseline of CFFM and MRCFA, trained on the frames of clips"
    else:
        about = "Segments video with the help of earlier frames. Trained"
    body = f"""# {run.title}

{about} with dense_hf on: **{run.dataset}**.

{use}

## Results

{results_table(splits) if splits else "None: no videos to judge by, or a run that has not come to its end."}

{_selection(results)}

{how_it_was_made(run, "videos")}
"""
    save_card(output_dir, data, body)


def results_table(splits: dict[str, dict[str, float]]) -> str:
    """Numbers in percent, a row per split; a dash for what the masks did not allow."""
    rows = [f"| split | videos | {' | '.join(METRIC_NAMES.values())} |", "|---" * (2 + len(METRIC_NAMES)) + "|"]
    for split, values in splits.items():
        counted = values["num_videos"] - values["num_skipped_videos"]
        rows.append(f"| {split} | {counted:.0f} | {' | '.join(percent(values.get(key)) for key in METRIC_NAMES)} |")
    return "\n".join(rows)


def percent(share: float | None) -> str:
    """0.385 as "38.5", nothing as a dash."""
    return "-" if share is None or share != share else f"{100 * share:.1f}"


def _selection(results: dict[str, object]) -> str:
    if "best_step" not in results:
        return ""
    return (
        f"These are the weights after step {results['best_step']} of {results['steps']}. "
        f"Seed {results['seed']}, one run, {results['protocol']} protocol."
    )


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
