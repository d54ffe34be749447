"""All masks and frames of a training are checked before its first step."""

from collections.abc import Sequence

from tqdm.auto import tqdm
from transformers.utils import logging

from ..data.videos import VideoSet, check_videos
from ..errors import InvalidDataError

logger = logging.get_logger(__name__)


def require_readable_videos(
    videos: VideoSet,
    splits: Sequence[str],
    skip_incomplete: bool = False,
    num_threads: int = 4,
    progress: bool = True,
) -> None:
    """Read every mask and the header of every frame of some splits.

    Args:
        videos: the set.
        splits: among those of the set.
        skip_incomplete: frames that are missing or empty are left out with a warning; otherwise they are an error.
        num_threads: threads that read.
        progress: whether to show a bar.

    Raises:
        InvalidDataError: if a split is missing or has no video, files are missing or empty, or a mask or a frame
            cannot be used; the message counts the bad files and names the first ten, with what is wrong.
    """
    for split in splits:
        if not videos.splits.get(split):
            raise InvalidDataError(videos.directory, f"videos of the split {split}", sorted(videos.splits))
    if not skip_incomplete:
        videos.check_complete()
    elif videos.problems:
        logger.warning(f"{len(videos.problems)} files are missing or empty: {'; '.join(videos.problems[:20])}")
    total = sum(len(videos.splits[split]) for split in splits)
    summaries = check_videos(videos, splits, num_threads=num_threads)
    summaries = tqdm(summaries, desc="Checking masks", unit=" videos", total=total, disable=not progress)
    if problems := [problem for summary in summaries for problem in summary.problems]:
        first = "; ".join(problems[:10]) + ("; ..." if len(problems) > 10 else "")
        raise InvalidDataError(videos.directory, "frames and masks that fit", f"{len(problems)} that do not: {first}")
