"""Numbers of a set of videos, and of the released VSPW (thesis section 4.4.1, "Datasets")."""

from collections.abc import Sequence
from statistics import mean

import numpy as np

from ..markdown import percent, table
from .class_names import VSPW_NAMES
from .labels import IGNORED
from .video_folder import VIDEO_LISTS
from .videos import VideoSet, VideoSummary

RELEASED_VIDEOS = {"train": 2806, "validation": 343, "test": 387}
RELEASED_FRAMES = {"train": 198_244, "validation": 24_502, "test": 28_887}


def compare_videos_with_release(videos: VideoSet) -> list[str]:
    """One sentence per difference to the released VSPW: videos, frames and classes. Empty for the full set."""
    problems = []
    for split, number in RELEASED_VIDEOS.items():
        members = videos.splits.get(split, [])
        frames = sum(len(video.frames) for video in members)
        if len(members) != number:
            problems.append(f"{VIDEO_LISTS[split]} has {len(members):,} videos instead of {number:,}")
        elif frames != RELEASED_FRAMES[split]:
            problems.append(f"{VIDEO_LISTS[split]} has {frames:,} frames instead of {RELEASED_FRAMES[split]:,}")
    if videos.rule.num_labels != len(VSPW_NAMES):
        problems.append(f"{videos.rule.num_labels} classes instead of {len(VSPW_NAMES)}")
    return problems


def format_video_statistics(summaries: Sequence[VideoSummary], names: Sequence[str]) -> str:
    """Two Markdown tables: a row per split, and a row per class with its share of the annotated pixels.

    Args:
        summaries: of videos with at least one frame that could be read.
        names: of the labels.
    """
    rows, pixels_of = [], {}
    for split in dict.fromkeys(summary.split for summary in summaries):
        members = [summary for summary in summaries if summary.split == split]
        lengths = [summary.num_frames for summary in members]
        width, height = (mean(summary.size[axis] for summary in members) for axis in (0, 1))
        pixels = np.sum([summary.pixels for summary in members], axis=0)
        labelled = sum(summary.num_labelled for summary in members)
        size, ignored = f"{width:.0f} x {height:.0f}", _share(pixels[IGNORED], pixels.sum())
        rows.append([split, len(members), sum(lengths), labelled, min(lengths), max(lengths), size, ignored])
        pixels_of[split] = pixels[:IGNORED]
    head = ("split", "videos", "frames", "with mask", "shortest", "longest", "average size", "ignored pixels")
    classes = [
        [label, name, *(_share(pixels[label], pixels.sum()) for pixels in pixels_of.values())]
        for label, name in enumerate(names)
    ]
    return f"{table(head, rows, 'lr')}\n\n{table(('label', 'class', *pixels_of), classes, 'rlr')}"


def _share(part: int, whole: int) -> str:
    return f"{percent(part / whole, 2)} %" if whole else "-"
