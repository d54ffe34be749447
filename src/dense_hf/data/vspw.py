"""VSPW (thesis section 4.4.1, "Datasets"), or any folder in its layout, as a `datasets` builder.

```python
from dense_hf.data import VSPW

builder = VSPW(data_dir="VSPW_480p")
builder.download_and_prepare(num_proc=8)        # nothing is downloaded: the folder is checked and indexed
train = builder.as_dataset("train")
train.features["classes"].feature.names         # the class names
stream = VSPW(data_dir="VSPW_480p").as_streaming_dataset("train")
```

datasets 5 refuses scripts, so `load_dataset` takes the Parquet that `dataset_scripts/vspw.py` writes.
"""

import os
from typing import Any

from .images import DEFAULT_MAX_PIXELS
from .video_builder import VideoFrameBuilder
from .video_folder import read_video_folder


class VSPW(VideoFrameBuilder):
    """Builder of splits "train", "validation" and "test", as far as the folder has their lists.

    See `VideoFrameBuilder` for the columns, and `read_video_folder` for the layout and the arguments that are not
    here. The class names are those of the folder's label_num_dic_final.json or, without one, those of VSPW.

    The released VSPW_480p lacks frames and has empty ones: `skip_incomplete=True` goes on without them.

    Args:
        data_dir: the folder.
        class_file: class names of your own data.
        ignore_zero: VSPW's rule, number 0 has no label and k is label k - 1. False: k is label k.
        sparse: frames may have no mask.
        skip_incomplete: see `VideoFrameBuilder`.
        max_pixels: the most pixels of a frame, see `open_image`.
        kwargs: of `datasets.DatasetBuilder`, such as `cache_dir`.

    Raises:
        InvalidDataError: for bad lists and class names at once, for other bad files when their turn comes.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        class_file: str | os.PathLike | None = None,
        ignore_zero: bool = True,
        sparse: bool = False,
        skip_incomplete: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        **kwargs: Any,
    ):
        videos = read_video_folder(os.path.abspath(data_dir), class_file, ignore_zero, sparse, max_pixels)
        super().__init__(videos, skip_incomplete, **kwargs)
