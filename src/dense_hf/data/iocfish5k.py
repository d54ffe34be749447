"""IOCfish5K (thesis section 2.3), or any folder in its layout, as a `datasets` builder.

```python
from dense_hf.data import IOCfish5K

builder = IOCfish5K(data_dir="IOCfish5K")
builder.download_and_prepare(num_proc=4)        # nothing is downloaded: the folder is checked and indexed
train = builder.as_dataset("train")
stream = IOCfish5K(data_dir="IOCfish5K").as_streaming_dataset("train")
```

datasets 5 refuses scripts, so `load_dataset` takes the Parquet that `dataset_scripts/iocfish5k.py` writes.
"""

import os
from collections.abc import Iterator
from typing import Any

import datasets
from transformers.utils import logging

from ..errors import InvalidDataError
from .images import DEFAULT_MAX_PIXELS, stored_image
from .point_folder import PointFolder, PointImage
from .points import read_points
from .statistics import RELEASED_IMAGES, compare_with_release
from .strict_builder import StrictBuilder

logger = logging.get_logger(__name__)


class IOCfish5K(StrictBuilder):
    """Builder of splits "train", "validation" and "test", as far as the folder has their lists.

    Columns: `image` (upright RGB), `image_id` (file name), `points` (list of (x, y) in pixels of the image, float32),
    `num_dropped` (objects left out as in the released code, see `read_points`). Rows are in the order of the lists.

    Preparing reads every annotation and decodes every image once, so that a bad file is found before the first step
    of a training. If all three lists have the lengths of the release, its number of points is checked too. Streaming
    checks each file when its turn comes, and only the lists beforehand.

    Args:
        data_dir: folder with images/, annotations/, train_id.txt, val_id.txt, test_id.txt (see `PointFolder`).
        max_pixels: the most pixels of an image, see `open_image`.
        kwargs: of `datasets.DatasetBuilder`, such as `cache_dir`.

    Raises:
        InvalidDataError: for a bad list at once, for other bad files when preparing or streaming reaches them.
    """

    def __init__(self, data_dir: str | os.PathLike, max_pixels: int = DEFAULT_MAX_PIXELS, **kwargs: Any):
        self.folder = PointFolder(os.path.abspath(data_dir), max_pixels)
        super().__init__(self.folder.directory, self.folder.digest(), **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Images with one point per object, for counting objects that blend into their scene.",
            features=datasets.Features(
                {
                    "image": datasets.Image(mode="RGB"),
                    "image_id": datasets.Value("string"),
                    "points": datasets.List(datasets.List(datasets.Value("float32"), length=2)),
                    "num_dropped": datasets.Value("int32"),
                }
            ),
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        self.folder.check_complete()
        if not dl_manager.is_streaming:
            self._check_annotations()
        return self.split_generators(images={split: self.folder.images(split) for split in self.folder.ids})

    def _check_annotations(self) -> None:
        images = [(split, image) for split in self.folder.ids for image in self.folder.images(split)]
        progress = datasets.utils.tqdm(images, desc="Reading annotations", unit=" images")
        summaries = [self.folder.summarize_image(split, image) for split, image in progress]
        lengths = self.folder.list_lengths
        if lengths == RELEASED_IMAGES and (problems := compare_with_release(lengths, summaries)):
            raise InvalidDataError(self.folder.directory, "the released IOCfish5K", "; ".join(problems))
        if dropped := sum(summary.num_dropped for summary in summaries):
            images = sum(summary.num_dropped > 0 for summary in summaries)
            logger.warning(
                f"{self.folder.directory}: {dropped} objects in {images} images have their point outside of the "
                "image, or none, and are left out (column num_dropped)."
            )

    def _generate_examples(  # ty: ignore[incompatible-method-override]  str keys: the base class takes both
        self, images: list[PointImage]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for image in images:
            picture, stored = stored_image(image.image_path, self.folder.max_pixels)
            annotation = read_points(image.annotation_path, picture.size)
            yield (
                image.image_id,
                {
                    "image": stored,
                    "image_id": image.image_id,
                    "points": annotation.points.tolist(),
                    "num_dropped": annotation.num_dropped,
                },
            )
