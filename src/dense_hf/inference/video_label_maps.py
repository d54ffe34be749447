"""Segment every video of a split, with any number of processes, and compare with the annotation (thesis 4.4.1, 5.4.1).

C frames of a video, K labels, H x W size of a frame as it came. Predicted label maps may be kept, a video at a time,
in the layout of VSPW:

DIRECTORY/data/VIDEO/mask/FRAME.png    the numbers of the data set's own masks, with a palette
DIRECTORY/predictions.json             which model they are of
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor
from transformers import PreTrainedModel

from ..data.files import new_directory, write_file
from ..data.images import open_image, read_image_header
from ..data.labels import label_map_png, read_mask
from ..data.videos import Video, VideoSet
from ..methods import frame_offsets
from ..metrics.consistency import VideoConsistency
from ..metrics.segmentation import MeanIoU
from ..metrics.temporal_consistency import TemporalConsistency
from ..video_segmentation.image_processing_clip import ClipImageProcessor
from .evaluation_records import EvaluationRecord, dense, sparse
from .evaluations import evaluation_mode
from .finite_outputs import judging, require_finite
from .result_folders import claim_folder
from .shares import own_share, share_bar
from .video_variants import VariantSegmenter, VideoVariant

LONGEST_WINDOW = 16
AS_IT_IS = VideoVariant()
ExtraInputs = Callable[[Video], Mapping[str, Tensor]]
FlowOf = Callable[[Video, int, tuple[int, int]], np.ndarray]
"""A video, the number of a frame and its (width, height) -> flow [2,H,W] to the frame before."""


class VideoPredictions:
    """A folder of predictions that an evaluation can be continued with after a stop.

    A video's folder appears when all of its maps are written.

    Args:
        directory: a new folder, or one that the same model has begun to fill.
        videos: the set, whose rule says which number in a mask each label is.
        maker: what makes the predictions, see `result_folders.describe_maker`.

    Raises:
        InvalidDataError: the folder has predictions of another model, or no manifest at all.
    """

    def __init__(self, directory: str | os.PathLike, videos: VideoSet, maker: Mapping[str, Any]):
        self.directory = Path(directory)
        self.videos = videos
        numbers = {label: number for number, label in videos.rule.labels.items()}
        self._numbers = np.array([numbers[label] for label in range(videos.rule.num_labels)], dtype=np.uint8)
        self._lock = claim_folder(self.directory, maker)

    def _folder(self, video: Video) -> Path:
        return self.directory / "data" / video.video_id / "mask"

    def read(self, video: Video) -> dict[int, np.ndarray]:
        """Labels uint8 [H,W] of every frame of a video, by frame number; nothing for a video that is not there yet.

        Raises:
            InvalidDataError: a map is missing, or is not a map of this data.
        """
        folder = self._folder(video)
        if not folder.is_dir():
            return {}
        maps = {}
        for number, frame in enumerate(video.frames):
            header = read_image_header(frame.image_path, self.videos.max_pixels)
            path, size = folder / f"{frame.frame_id}.png", (header.width, header.height)
            maps[number] = read_mask(path, size, self.videos.rule, self.videos.max_pixels)
        return maps

    def write(self, video: Video, maps: Mapping[int, np.ndarray]) -> None:
        """Write labels uint8 [H,W] of all frames of a video, by frame number."""
        folder = self._folder(video)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_directory(folder) as temporary:
            for number, labels in maps.items():
                png = label_map_png(self._numbers[labels])
                write_file(temporary / f"{video.frames[number].frame_id}.png", png)


def evaluate_videos(
    model: PreTrainedModel,
    processor: ClipImageProcessor,
    videos: VideoSet,
    members: Sequence[Video],
    protocol: str = "released",
    predictions: VideoPredictions | None = None,
    extra_inputs: ExtraInputs | None = None,
    measure_speed: bool = False,
    progress: bool = True,
    description: str = "Segmenting",
    record: EvaluationRecord | None = None,
    variant: VideoVariant = AS_IT_IS,
    flow: FlowOf | None = None,
) -> dict[str, Any]:
    """mIoU, weighted IoU, VC8 and VC16 over whole videos, frame by frame at the size of the frames.

    Each process takes every n-th video; whole numbers of all are gathered and added. There is no sampler that could
    repeat videos to even out the shares, so the numbers do not depend on the number of processes.

    | | `protocol="released"` | `protocol="thesis"` |
    | --- | --- | --- |
    | videos of up to 16 frames | count in nothing | count in mIoU, and in VC_n from n frames on |
    | mIoU is the mean over | classes that are annotated | classes that are annotated or predicted |
    | VC_n | see `VideoConsistency` | see `VideoConsistency` |

    `protocol="dvis_pooled"` has the mIoU of "released" over all videos; its VC_n are in `VideoConsistency`.

    Videos with a mask on some frames only are judged on those; they have no VC.

    Args:
        model: On its device. All processes hold the same weights.
        processor: Prepares frames, and enlarges logits.
        videos: Where the files are, and the rule of the labels.
        members: The videos, the same list in every process.
        protocol: see above.
        predictions: Where label maps are written. Videos that it holds already are read instead of segmented. Without
            it, videos and frames that count in nothing are left out.
        extra_inputs: Of a video: what `model.new_session` takes, without a batch dimension.
        measure_speed: whether `frames_per_second` is measured, which waits for the device after every frame.
        progress: Whether process 0 shows a bar.
        description: Text of the bar.
        record: What an evaluation that was stopped has found out; it gets the rest, a video at a time.
        variant: Damaged frames, other references, averages: how videos are shown to the model.
        flow: With it also `tc`, see [`TemporalConsistency`], of all frames whose frame before is segmented.

    Returns:
        The same in every process: `num_videos`, `num_skipped_videos`, and what `MeanIoU` and `VideoConsistency`
        compute, as far as the masks allow; `damaged_mean_iou` of the frames that were shown damaged.
        `frames_per_second` is of one process, over the frames that it segmented with all their references, from
        prepared pixels to a map of the frame's size; None without such frames.

    Raises:
        InvalidDataError: a frame or a mask that cannot be used.
        ValueError: another number of classes than the data's, no video that counts, or outputs that are not finite.
    """
    require_countable(members, protocol)
    variant.check_model(model)
    num_labels = videos.rule.num_labels
    if model.config.num_labels != num_labels:
        raise ValueError(
            f"{videos.directory} has {num_labels} classes, the model must have as many. "
            f"Received: {model.config.num_labels}"
        )
    overlap, damaged = (
        MeanIoU(num_labels, classes="occurring" if protocol == "thesis" else "annotated") for _ in range(2)
    )
    moved = TemporalConsistency(num_labels)
    consistency = VideoConsistency(protocol=protocol)  # ty: ignore[invalid-argument-type]  checked there
    seconds: list[float] = []
    record = record or EvaluationRecord(None, {})

    def judge(video: Video) -> dict[str, Any]:
        """Segment a video and compare it with its masks: states of metrics, in values that JSON has."""
        of_video = MeanIoU(num_labels), VideoConsistency(protocol=consistency.protocol), MeanIoU(num_labels)
        times = []
        maps = {} if predictions is None else predictions.read(video)
        if not maps:
            extra = {} if extra_inputs is None else extra_inputs(video)
            numbers = frames_to_segment(video, frame_offsets(model.config), predictions is not None)
            for number, labels, elapsed in segment_video(model, processor, videos, video, numbers, extra, variant):
                maps[number] = labels
                if elapsed is not None and measure_speed:
                    times.append(elapsed)
                bar.update()
            if predictions is not None:
                predictions.write(video, maps)
        if is_counted(video, protocol):
            judge_video(videos, video, maps, *of_video, variant)
        pixels, windows, damaged_pixels = (metric.state for metric in of_video)
        known = {"pixels": sparse(pixels), "windows": windows.tolist(), "seconds": times, "frames": len(maps)}
        if flow is not None:
            known["moved"] = sparse(_moved(video, maps, flow, num_labels).state)
        return known | ({"damaged": sparse(damaged_pixels)} if variant.damage else {})

    share = own_share([video for video in members if predictions is not None or is_counted(video, protocol)])
    bar = share_bar(description, "frame", progress, total=sum(len(video.frames) for video in share))
    with evaluation_mode(model), bar:
        for video in share:
            bar.set_postfix_str(video.video_id, refresh=False)
            if (known := record.get(video.video_id)) is None:
                known = judge(video)
                record.add(video.video_id, known)
            overlap.merge(dense(known["pixels"], num_labels))
            if variant.damage:
                damaged.merge(dense(known["damaged"], num_labels))
            if flow is not None:
                moved.merge(dense(known["moved"], num_labels))
            consistency.merge(np.array(known["windows"], np.int64).reshape(-1, 4))
            seconds += known["seconds"]
            bar.update(len(video.frames) - known["frames"])

    metrics = overlap, consistency, damaged, moved
    gathered = gather_object([(tuple(metric.state for metric in metrics), seconds)])
    for metric in metrics:
        metric.reset()
    for states, _ in gathered:
        for metric, state in zip(metrics, states):
            metric.merge(state)
    counted = [video for video in members if is_counted(video, protocol)]
    results: dict[str, Any] = {"num_videos": len(members), "num_skipped_videos": len(members) - len(counted)}
    if any(video.labelled for video in counted):
        results |= overlap.compute()
    if damaged.state.any():
        results["damaged_mean_iou"] = damaged.compute()["mean_iou"]
    if any(_is_labelled(video) for video in counted):
        results |= {key: value for key, value in consistency.compute().items() if key.startswith("vc")}
    if moved.state.any():
        results["tc"] = moved.compute()["tc"]
    if measure_speed:
        times = [elapsed for *_, process in gathered for elapsed in process]
        results["frames_per_second"] = len(times) / sum(times) if times else None
    return results


def _moved(video: Video, maps: Mapping[int, np.ndarray], flow: FlowOf, num_labels: int) -> TemporalConsistency:
    """Labels of frames and those of the frames before, moved: a pair at a time, for flows are large."""
    found = TemporalConsistency(num_labels)
    for number in sorted(maps):
        if number - 1 in maps:
            labels = maps[number]
            moves = flow(video, number, (labels.shape[1], labels.shape[0]))
            found.update(np.stack([maps[number - 1], labels]), moves[None])
    return found


def is_counted(video: Video, protocol: str) -> bool:
    """Whether metrics look at a video; the released script passes over short ones altogether."""
    return protocol != "released" or not _is_labelled(video) or len(video.frames) > LONGEST_WINDOW


def require_countable(members: Sequence[Video], protocol: str) -> None:
    """Raise ValueError unless there is a video that counts."""
    if not any(is_counted(video, protocol) for video in members):
        longest = max((len(video.frames) for video in members), default=0)
        raise ValueError(
            f"protocol=released looks at videos of more than {LONGEST_WINDOW} frames only, protocol=thesis at all. "
            f"Received: {len(members)} videos, the longest of {longest} frames"
        )


def _is_labelled(video: Video) -> bool:
    """Whether all frames have a mask."""
    return len(video.labelled) == len(video.frames)


def frames_to_segment(video: Video, offsets: Sequence[int], everything: bool) -> range:
    """All frames, or those that its masks need: from the references of the first mask to the last mask."""
    labelled = video.labelled
    if everything or _is_labelled(video) or not labelled:
        return range(len(video.frames) if everything or labelled else 0)
    return range(max(labelled[0] - max(offsets), 0), labelled[-1] + 1)


@torch.no_grad()
def segment_video(
    model: PreTrainedModel,
    processor: ClipImageProcessor,
    videos: VideoSet,
    video: Video,
    numbers: range,
    extra: Mapping[str, Tensor],
    variant: VideoVariant = AS_IT_IS,
) -> Iterator[tuple[int, np.ndarray, float | None]]:
    """Label maps of consecutive frames: (number, uint8 [H,W], seconds if the frame had all its references).

    A model without sessions, which is SegFormer, is given each frame on its own.
    """
    new_session: Any = getattr(model, "new_session", None)
    device: Any = model.device
    session = None
    if new_session is not None:
        session = new_session(**{key: value[None].to(device) for key, value in extra.items()})
    reach = max(frame_offsets(model.config))

    def show(number: int) -> tuple[Tensor, tuple[int, int]]:
        picture = open_image(video.frames[number].image_path, videos.max_pixels)
        pixels = processor([variant.show(picture, number)], return_tensors="pt")["pixel_values"][:, 0]
        return pixels.to(device), (picture.height, picture.width)

    segmenter = VariantSegmenter(model, session, variant, lambda number: show(number)[0], len(video.frames))
    for number in numbers:
        pixel_values, size = show(number)
        started = time.perf_counter()
        logits = segmenter.segment(pixel_values, number)
        with judging(video.frames[number].image_path, model):
            require_finite(logits)
        outputs = SimpleNamespace(logits=logits)
        (labels,) = processor.post_process_semantic_segmentation(outputs, [size])
        result = labels.to(torch.uint8).numpy(force=True)  # waits for the device
        elapsed = time.perf_counter() - started
        yield number, result, elapsed if number - numbers.start >= reach else None


def judge_video(
    videos: VideoSet,
    video: Video,
    maps: Mapping[int, np.ndarray],
    overlap: MeanIoU,
    consistency: VideoConsistency,
    damaged: MeanIoU | None = None,
    variant: VideoVariant = AS_IT_IS,
) -> None:
    """Compare the label maps of a video, by frame number, with its masks; those of damaged frames also alone."""
    truth = {}
    for number in video.labelled:
        path, labels = video.frames[number].mask_path, maps[number]
        if path is not None:
            truth[number] = read_mask(path, (labels.shape[1], labels.shape[0]), videos.rule, videos.max_pixels)
            overlap.update([labels], [truth[number]])
            if damaged is not None and variant.is_damaged(number):
                damaged.update([labels], [truth[number]])
    if truth and _is_labelled(video):
        consistency.update(np.stack([maps[number] for number in truth]), np.stack(list(truth.values())))
