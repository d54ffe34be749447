"""Builders and strict readers of data sets. Public names load on first use: `datasets` takes a second to import."""

from importlib import import_module
from typing import TYPE_CHECKING

_PUBLIC_NAMES = {
    "IOCfish5K": "iocfish5k",
    "ImageSummary": "point_folder",
    "PointAnnotation": "points",
    "PointFolder": "point_folder",
    "check_name": "image_lists",
    "compare_with_release": "statistics",
    "format_statistics": "statistics",
    "generate_miniature_set": "miniature_set",
    "new_directory": "files",
    "open_image": "images",
    "push_folder": "parquet",
    "read_bytes": "files",
    "read_coordinate": "points",
    "read_ids": "image_lists",
    "read_image_header": "images",
    "read_points": "points",
    "split_suffix": "image_lists",
    "write_file": "files",
    "write_parquet": "parquet",
    "write_points": "points",
}

__all__ = [*_PUBLIC_NAMES]

if TYPE_CHECKING:
    from .files import new_directory as new_directory
    from .files import read_bytes as read_bytes
    from .files import write_file as write_file
    from .image_lists import check_name as check_name
    from .image_lists import read_ids as read_ids
    from .image_lists import split_suffix as split_suffix
    from .images import open_image as open_image
    from .images import read_image_header as read_image_header
    from .iocfish5k import IOCfish5K as IOCfish5K
    from .miniature_set import generate_miniature_set as generate_miniature_set
    from .parquet import push_folder as push_folder
    from .parquet import write_parquet as write_parquet
    from .point_folder import ImageSummary as ImageSummary
    from .point_folder import PointFolder as PointFolder
    from .points import PointAnnotation as PointAnnotation
    from .points import read_coordinate as read_coordinate
    from .points import read_points as read_points
    from .points import write_points as write_points
    from .statistics import compare_with_release as compare_with_release
    from .statistics import format_statistics as format_statistics


def __getattr__(name: str):
    if name not in _PUBLIC_NAMES:
        raise AttributeError(f"module 'dense_hf.data' has no attribute '{name}'")
    return getattr(import_module(f".{_PUBLIC_NAMES[name]}", __name__), name)


def __dir__():
    return sorted(__all__)
