"""Pictures that are no files: rows of Parquet files, members of WebDataset tars, files of object stores."""

from .pictures import StoredPicture, open_picture, opened_picture
from .sources import find_pictures, is_container, is_stored

__all__ = ["StoredPicture", "find_pictures", "is_container", "is_stored", "open_picture", "opened_picture"]
