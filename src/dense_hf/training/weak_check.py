"""Reading every image's header before the first step of chapter 3's training, as for videos."""

from collections.abc import Sequence

from tqdm.auto import tqdm

from ..data.images import read_image_header
from ..data.weak_folder import WeakFolder
from .first_process import check_in_first_process


def check_images(folders: Sequence[WeakFolder], progress: bool = True) -> None:
    """Read the header of every image, in the first process, so that no epoch ends at a bad file.

    Raises:
        InvalidDataError: an image is missing or broken; all processes raise it.
    """
    paths = [image.path for folder in folders for image in folder.images]

    def check() -> None:
        for path in tqdm(paths, desc="Checking images", unit="image", disable=not progress):
            read_image_header(path)

    check_in_first_process(check)
