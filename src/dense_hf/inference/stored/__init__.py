"""Pictures that are no files: rows of Parquet files, members of WebDataset tars, files of object stores."""

from .pictures import StoredPicture, find_pictures, open_picture, opened_picture

__all__ = ["StoredPicture", "find_pictures", "open_picture", "opened_picture"]
