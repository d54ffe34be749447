"""Videos as a `datasets` builder: a row per frame, videos one after the other."""

from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
from transformers.utils import logging

from ..errors import first_of
from .images import stored_image, stored_labels
from .labels import IGNORED, read_mask
from .strict_builder import StrictBuilder
from .videos import Video, VideoSet, check_frame_size

logger = logging.get_logger(__name__)


class VideoFrameBuilder(StrictBuilder):
    """Base of `VSPW` and `CityscapesVideo`.

    Columns:
    - `image`: the frame, upright RGB.
    - `mask`: its labels as a gray picture, 0 to K - 1 and 255 where there is none; None for a frame without a mask.
    - `classes`: the labels that occur in the mask, with their names as the feature's `ClassLabel`.
    - `video_id`, `frame_id` (file name without suffix), `frame_index` (from 0, within the rows of the video).

    Rows are in the order of the lists and of time. Preparing decodes every file once, so that a bad one is found
    before the first step of a training; streaming checks each when its turn comes.

    Args:
        videos: the set.
        skip_incomplete: leave out frames that are missing or empty, or have such a mask, with a warning that counts
            and names them. Without it they are an error. Frames after a gap then have other distances in time.
        kwargs: of `datasets.DatasetBuilder`, such as `cache_dir`.
    """

    def __init__(self, videos: VideoSet, skip_incomplete: bool = False, **kwargs: Any):
        self.videos = videos
        self.skip_incomplete = skip_incomplete
        super().__init__(videos.directory, videos.digest(), **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        names = list(self.videos.rule.names)
        return datasets.DatasetInfo(
            description="Frames of videos with the label of each pixel.",
            features=datasets.Features(
                {
                    "image": datasets.Image(mode="RGB"),
                    "mask": datasets.Image(mode="L"),
                    "classes": datasets.List(datasets.ClassLabel(names=names)),
                    "video_id": datasets.Value("string"),
                    "frame_id": datasets.Value("string"),
                    "frame_index": datasets.Value("int32"),
                }
            ),
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        if not self.skip_incomplete:
            self.videos.check_complete()
        elif problems := self.videos.problems:
            logger.warning(
                f"{self.videos.directory}: {len(problems)} files are missing or empty, their frames are left out: "
                f"{first_of(problems, 20, '; ')}"
            )
        return self.split_generators(videos=self.videos.splits)

    def _generate_examples(  # ty: ignore[incompatible-method-override]  str keys: the base class takes both
        self, videos: list[Video]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for video in videos:
            size = None
            for index, frame in enumerate(video.frames):
                picture, image = stored_image(frame.image_path, self.videos.max_pixels)
                size = picture.size if size is None else size
                check_frame_size(frame, picture.size, size)
                mask, classes = None, []
                if frame.mask_path is not None:
                    labels = read_mask(frame.mask_path, picture.size, self.videos.rule, self.videos.max_pixels)
                    mask = stored_labels(frame.mask_path, labels)
                    classes = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[:IGNORED]).tolist()
                yield (
                    f"{video.video_id}/{frame.frame_id}",
                    {
                        "image": image,
                        "mask": mask,
                        "classes": classes,
                        "video_id": video.video_id,
                        "frame_id": frame.frame_id,
                        "frame_index": index,
                    },
                )
