"""PASCAL VOC 2012 with image-level labels (thesis section 3.4.1), or any folder of images with a table of labels, as
a `datasets` builder.

```python
from dense_hf.data import PascalVOCWeak

builder = PascalVOCWeak(data_dir="VOC2012")     # or your own: images/ and labels.csv, see `weak_source.py`
builder.download_and_prepare(num_proc=4)        # nothing is downloaded: the folder is checked and indexed
train = builder.as_dataset("train")
train.features["labels"].feature.names          # the class names
stream = PascalVOCWeak(data_dir="VOC2012").as_streaming_dataset("train")
```

With extra images of other domains (sections 3.4.2 and 3.4.3), all of which are in "train":

```python
from dense_hf.data import read_label_list, read_labels_csv
from dense_hf.data.class_names import VOC_NAMES

single = read_label_list("single.txt", "single_images", VOC_NAMES, domain=1, first_class=1)
web = read_labels_csv("web/labels.csv", "web/images", VOC_NAMES, domain=2)
builder = PascalVOCWeak(data_dir="VOC2012", extra=[single, web])
```

datasets 5 refuses scripts, so `load_dataset` takes the Parquet that `dataset_scripts/pascal_voc_weak.py` writes.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import datasets
from transformers.utils import logging

from .images import DEFAULT_MAX_PIXELS, stored_image, stored_labels
from .labels import read_mask
from .strict_builder import StrictBuilder
from .weak_folder import WeakFolder, WeakImage
from .weak_set import WeakSet, read_weak_set
from .weak_source import is_voc, mask_rule
from .weak_statistics import compare_weak_with_release

logger = logging.get_logger(__name__)


class PascalVOCWeak(StrictBuilder):
    """Builder of splits "train", "validation" and "test", as far as the folder has them (see `read_weak_set`).

    Columns:
    - `image`: upright RGB.
    - `labels`: the classes of the image, sorted, from 0, with their names as the feature's `ClassLabel`; may be empty.
    - `name`: file name without suffix.
    - `domain`: 0 for the folder itself; extra images have their own.
    - `mask`: None in "train", always. Else 0 background, class id + 1, 255 for pixels that do not count, as a gray
      picture; None where the folder has no masks.

    Rows are in the order of the lists. Making the builder reads all labels; preparing decodes every file once, so that
    a bad one is found before the first step of a training, while streaming checks each when its turn comes. A folder
    in the layout of VOC that has not the 10,582 and 1,449 images of the thesis is taken, with a warning.

    Args:
        data_dir: the folder, or what `read_weak_set` made of one.
        extra: more training images, with the same classes.
        join_extra: False: they get splits of their own, "domain_1", "domain_2", ..., see `WeakSet.with_extra`.
        max_pixels: the most pixels of an image, see `open_image`.
        kwargs: of `datasets.DatasetBuilder`, such as `cache_dir`.

    Raises:
        InvalidDataError: for bad lists, tables and annotations at once, for other bad files when their turn comes.
        ValueError: if extra images do not fit, see `WeakSet.with_extra`.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike | WeakSet,
        extra: Sequence[WeakFolder] = (),
        join_extra: bool = True,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        **kwargs: Any,
    ):
        images = data_dir if isinstance(data_dir, WeakSet) else read_weak_set(os.path.abspath(data_dir))
        self.images = images.with_extra(extra, join_extra)
        self.max_pixels = max_pixels
        super().__init__(self.images.directory, self.images.digest(), **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        names = list(self.images.class_names)
        return datasets.DatasetInfo(
            description="Images and which classes they show; masks for evaluation only.",
            features=datasets.Features(
                {
                    "image": datasets.Image(mode="RGB"),
                    "labels": datasets.List(datasets.ClassLabel(names=names)),
                    "name": datasets.Value("string"),
                    "domain": datasets.Value("int32"),
                    "mask": datasets.Image(mode="L"),
                }
            ),
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        if is_voc(self.images.directory) and (problems := compare_weak_with_release(self.images)):
            logger.warning(f"{self.images.directory}: not the full PASCAL VOC 2012. {'; '.join(problems)}")
        return self.split_generators(images={split: folder.images for split, folder in self.images.splits.items()})

    def _generate_examples(  # ty: ignore[incompatible-method-override]  str keys: the base class takes both
        self, images: list[WeakImage]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        rule = mask_rule(self.images.class_names)
        for image in images:
            picture, stored = stored_image(image.path, self.max_pixels)
            mask = None
            if image.mask_path is not None:
                numbers = read_mask(image.mask_path, picture.size, rule, self.max_pixels)
                mask = stored_labels(image.mask_path, numbers)
            yield (
                image.name,
                {
                    "image": stored,
                    "labels": list(image.labels),
                    "name": image.name,
                    "domain": image.domain,
                    "mask": mask,
                },
            )
