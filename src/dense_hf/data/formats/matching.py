"""Annotations and the pictures they mean: every file found, every size compared, all that is wrong said at once."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ...errors import InvalidDataError, first_of
from ..images import read_size
from .pictures import PictureFolder
from .records import AnnotatedImage, AnnotatedImages, InvalidAnnotationsError


@dataclass(frozen=True)
class MatchedPictures:
    """Records whose `size` is that of their picture, all points inside of it.

    Attributes:
        records: The records.
        paths: The file of each.
        num_dropped: How many points lay outside of their picture.
        unannotated: Names of pictures of the folder that no record means.
        problems: What was left out or changed, one sentence per reason.
    """

    records: tuple[AnnotatedImage, ...]
    paths: tuple[Path, ...]
    num_dropped: int = 0
    unannotated: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def match_pictures(
    annotations: AnnotatedImages,
    path: str | os.PathLike,
    images_dir: str | os.PathLike | None = None,
    progress: bool = False,
    decode: bool = False,
) -> MatchedPictures:
    """Find the picture of each record and compare their sizes.

    Args:
        annotations: Of `read_annotations`.
        path: Where they were read from.
        images_dir: The folder of the pictures. Default: the folder of the annotations, else images/ beside it.
        progress: Whether to show a bar.
        decode: Whether to read pictures whole, which shows damaged ones.

    Raises:
        InvalidAnnotationsError: Pictures that are not there, of two records, or of another size; all are listed.
    """
    given = images_dir is not None
    base = Path(path) if Path(path).is_dir() else Path(path).parent
    folders = [PictureFolder(Path(images_dir) if images_dir is not None else base)]
    if not given and (base.parent / "images").is_dir():
        folders.append(PictureFolder(base.parent / "images"))
    errors: list[str] = []
    used: dict[Path, AnnotatedImage] = {}
    records, paths, outside, turned = [], [], [], []
    for record in tqdm(annotations, desc="Finding pictures", unit="picture", disable=not progress):
        try:
            found = _find(record, folders, base)
            if found is None:
                errors.append(f"{record.image or record.source}: expected a picture of this name. Received: none")
                continue
            if (other := used.setdefault(found.resolve(), record)) is not record:
                received = f"{found.name}, as {other.image}"
                errors.append(f"{record.image}: expected a picture of its own. Received: {received}")
                continue
            size = read_size(found, decode=decode)
        except InvalidDataError as error:
            errors.append(str(error))
            continue
        points = record.points
        if record.size not in (None, size):
            if annotations.format != "label_studio" or record.size != size[::-1]:
                both = f"{record.size[0]} x {record.size[1]} for {found.name}, which has {size[0]} x {size[1]}"
                errors.append(f"{record.image}: expected the size of the picture. Received: {both}")
                continue
            # percents of the picture as it is shown, with the size as it is stored (HumanSignal/label-studio#6608)
            points = points * (np.array(size) / np.array(record.size))
            turned.append(str(record.image))
        kept, lost = replace(record, points=points).inside(size)
        outside += lost
        records.append(kept)
        paths.append(found)
    if errors:
        shown = "".join(f"\n  {error}" for error in errors[:4])
        more = f"\n  and {len(errors) - 4} more; `dense-hf annotations check` lists all" if len(errors) > 4 else ""
        expected = f"a picture in {folders[0].directory} for each record, of the size it says"
        raise InvalidAnnotationsError(path, expected, f"{len(errors)} without:{shown}{more}", errors)
    problems = []
    if outside:
        problems.append(f"{len(outside)} left out: outside of the picture ({first_of(outside, 8, '; ')})")
    if turned:
        problems.append(f"{len(turned)} sizes are those of the file before it is turned ({first_of(turned, 8)})")
    files = (folders[0].directory / name for name in folders[0].paths)
    alone = [file.name for file in files if file.resolve() not in used]
    if alone:
        problems.append(f"{len(alone)} pictures without annotations are left out ({first_of(alone, 8)})")
    return MatchedPictures(tuple(records), tuple(paths), len(outside), tuple(alone), tuple(problems))


def _find(record: AnnotatedImage, folders: Sequence[PictureFolder], base: Path) -> Path | None:
    if record.image is None:
        pictures = [folder.directory / name for folder in folders for name in folder.paths]
        return pictures[0] if len(pictures) == 1 else None
    if record.source is not None and folders[0].directory == base:
        beside = record.source.parent / record.image  # in a folder of its own, as each split of Roboflow has it
        if beside.is_file() and base in beside.parents:
            return beside
    return next((found for folder in folders if (found := folder.find(record.image)) is not None), None)


def float32_inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points [n, 2] of a picture as float32, none of which is rounded out of it: 99.9999999 is not 100."""
    last = [math.nextafter(side, 0) for side in size]
    largest = np.nextafter(np.array(size, np.float32), np.float32(0))
    return np.minimum(np.minimum(points, last).astype(np.float32), largest)
