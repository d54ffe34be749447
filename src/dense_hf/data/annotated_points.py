"""Pictures with points of any annotation format as a `datasets` builder.

```python
from dense_hf.data import AnnotatedPoints

builder = AnnotatedPoints("export.json", images_dir="photos", validation=0.2, test=0.2, seed=1)
builder.download_and_prepare()
train = builder.as_dataset("train")
```
"""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets

from ..errors import InvalidDataError
from .files import files_digest
from .formats import AnnotatedImage
from .formats.matching import float32_inside
from .images import stored_image
from .point_source import PointSource
from .strict_builder import StrictBuilder


class AnnotatedPoints(StrictBuilder):
    """Builder of the splits that the annotations have, or that are asked for; see `PointSource`.

    Columns: `image` (upright RGB), `image_id` (name of the file), `points` (list of (x, y) in pixels of the image,
    float32) and `classes` (the name of each, "" for none). The annotations are read at once, images when preparing.

    Args:
        data_dir: The annotation file, a folder of such files, or a folder in the layout of IOCfish5K.
        images_dir, format, polygon_point, validation_data, test_data, validation, test, seed: See `PointSource`.
        kwargs: Of `datasets.DatasetBuilder`, such as `cache_dir`.

    Raises:
        InvalidDataError: Annotations that cannot be used, or whose pictures are missing or of another size.
        ValueError: Options that cannot work.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        images_dir: str | os.PathLike | None = None,
        format: str | None = None,
        polygon_point: str = "box",
        validation_data: str | os.PathLike | None = None,
        test_data: str | os.PathLike | None = None,
        validation: float = 0.0,
        test: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ):
        self.source = PointSource(
            data_dir, images_dir, format, polygon_point, validation_data, test_data, validation, test, seed
        )
        super().__init__(data_dir, self._digest(), **kwargs)

    @cached_property
    def records(self) -> dict[str, list[tuple[AnnotatedImage, Path]]]:
        """Split to its records and the files of their pictures."""
        return self.source.read_records(progress=False)

    def _digest(self) -> str:
        return files_digest(
            ((self.source, split, record.points.tolist(), record.classes), (path, record.source))
            for split, items in self.records.items()
            for record, path in items
        )

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Images with one point per object, and its class.",
            features=datasets.Features(
                {
                    "image": datasets.Image(mode="RGB"),
                    "image_id": datasets.Value("string"),
                    "points": datasets.List(datasets.List(datasets.Value("float32"), length=2)),
                    "classes": datasets.List(datasets.Value("string")),
                }
            ),
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        return self.split_generators(indices={split: list(enumerate(items)) for split, items in self.records.items()})

    def _generate_examples(  # ty: ignore[incompatible-method-override]  str keys: the base class takes both
        self, indices: list[tuple[int, tuple[AnnotatedImage, Path]]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for index, (record, path) in indices:
            picture, stored = stored_image(path)
            if picture.size != record.size:
                raise InvalidDataError(path, f"the size it had before, {record.size}", picture.size)
            yield (
                str(index),
                {
                    "image": stored,
                    "image_id": path.name,
                    "points": float32_inside(record.points, picture.size).tolist(),
                    "classes": [name or "" for name in record.classes],
                },
            )
