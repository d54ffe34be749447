"""Cityscapes with its video sequences (thesis sections 4.4.1 and 5.4.1) as a `datasets` builder.

One frame of about 30 has a mask; the column `mask` is None for the others.
"""

import os
from typing import Any

from .cityscapes_folder import read_cityscapes_folder
from .images import DEFAULT_MAX_PIXELS
from .video_builder import VideoFrameBuilder


class CityscapesVideo(VideoFrameBuilder):
    """Builder of splits "train", "validation" and "test", as far as the folder has them.

    See `VideoFrameBuilder` for the columns and `read_cityscapes_folder` for the layout.

    Args:
        data_dir: folder with leftImg8bit_sequence/ and gtFine/.
        label_ids: read *_labelIds.png instead of *_labelTrainIds.png.
        skip_incomplete: see `VideoFrameBuilder`.
        max_pixels: the most pixels of a frame, see `open_image`.
        kwargs: of `datasets.DatasetBuilder`, such as `cache_dir`.

    Raises:
        InvalidDataError: for names that are not those of Cityscapes at once, for bad files when their turn comes.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        label_ids: bool = False,
        skip_incomplete: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        **kwargs: Any,
    ):
        super().__init__(
            read_cityscapes_folder(os.path.abspath(data_dir), label_ids, max_pixels), skip_incomplete, **kwargs
        )
