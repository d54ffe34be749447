"""Builders and strict readers of data sets. Public names load on first use: `datasets` takes a second to import."""

from importlib import import_module
from typing import TYPE_CHECKING

_PUBLIC_NAMES = {
    "AnnotatedPoints": "annotated_points",
    "CityscapesVideo": "cityscapes_video",
    "Frame": "videos",
    "IOCfish5K": "iocfish5k",
    "ImageSummary": "point_folder",
    "LabelRule": "labels",
    "PascalVOCWeak": "pascal_voc_weak",
    "PointAnnotation": "points",
    "PointFolder": "point_folder",
    "VSPW": "vspw",
    "Video": "videos",
    "VideoReader": "video_files",
    "VideoSet": "videos",
    "VideoSummary": "videos",
    "VideoWriter": "video_writer",
    "WeakFolder": "weak_folder",
    "WeakImage": "weak_folder",
    "WeakSet": "weak_set",
    "absent_classes": "videos",
    "check_name": "image_lists",
    "check_videos": "videos",
    "compare_videos_with_release": "video_statistics",
    "compare_weak_with_release": "weak_statistics",
    "compare_with_release": "statistics",
    "format_statistics": "statistics",
    "format_video_statistics": "video_statistics",
    "format_weak_statistics": "weak_statistics",
    "generate_miniature_set": "miniature_set",
    "generate_miniature_videos": "miniature_videos",
    "generate_miniature_weak": "miniature_weak",
    "join_folders": "weak_folder",
    "new_directory": "files",
    "numbering_gaps": "videos",
    "open_image": "images",
    "push_folder": "parquet",
    "read_bytes": "files",
    "read_cityscapes_folder": "cityscapes_folder",
    "read_class_file": "labels",
    "read_coordinate": "points",
    "read_ids": "image_lists",
    "read_image_header": "images",
    "read_label_list": "weak_folder",
    "read_labels_csv": "weak_folder",
    "read_mask": "labels",
    "read_points": "points",
    "read_video_folder": "video_folder",
    "read_voc_mask": "voc_folder",
    "read_voc_weak": "voc_folder",
    "read_weak_mask": "weak_source",
    "read_weak_set": "weak_set",
    "read_weak_split": "weak_source",
    "split_suffix": "image_lists",
    "write_file": "files",
    "write_parquet": "parquet",
    "write_points": "points",
}

__all__ = [*_PUBLIC_NAMES]

if TYPE_CHECKING:
    from .annotated_points import AnnotatedPoints as AnnotatedPoints
    from .cityscapes_folder import read_cityscapes_folder as read_cityscapes_folder
    from .cityscapes_video import CityscapesVideo as CityscapesVideo
    from .files import new_directory as new_directory
    from .files import read_bytes as read_bytes
    from .files import write_file as write_file
    from .image_lists import check_name as check_name
    from .image_lists import read_ids as read_ids
    from .image_lists import split_suffix as split_suffix
    from .images import open_image as open_image
    from .images import read_image_header as read_image_header
    from .iocfish5k import IOCfish5K as IOCfish5K
    from .labels import LabelRule as LabelRule
    from .labels import read_class_file as read_class_file
    from .labels import read_mask as read_mask
    from .miniature_set import generate_miniature_set as generate_miniature_set
    from .miniature_videos import generate_miniature_videos as generate_miniature_videos
    from .miniature_weak import generate_miniature_weak as generate_miniature_weak
    from .parquet import push_folder as push_folder
    from .parquet import write_parquet as write_parquet
    from .pascal_voc_weak import PascalVOCWeak as PascalVOCWeak
    from .point_folder import ImageSummary as ImageSummary
    from .point_folder import PointFolder as PointFolder
    from .points import PointAnnotation as PointAnnotation
    from .points import read_coordinate as read_coordinate
    from .points import read_points as read_points
    from .points import write_points as write_points
    from .statistics import compare_with_release as compare_with_release
    from .statistics import format_statistics as format_statistics
    from .video_files import VideoReader as VideoReader
    from .video_folder import read_video_folder as read_video_folder
    from .video_statistics import compare_videos_with_release as compare_videos_with_release
    from .video_statistics import format_video_statistics as format_video_statistics
    from .video_writer import VideoWriter as VideoWriter
    from .videos import Frame as Frame
    from .videos import Video as Video
    from .videos import VideoSet as VideoSet
    from .videos import VideoSummary as VideoSummary
    from .videos import absent_classes as absent_classes
    from .videos import check_videos as check_videos
    from .videos import numbering_gaps as numbering_gaps
    from .voc_folder import read_voc_mask as read_voc_mask
    from .voc_folder import read_voc_weak as read_voc_weak
    from .vspw import VSPW as VSPW
    from .weak_folder import WeakFolder as WeakFolder
    from .weak_folder import WeakImage as WeakImage
    from .weak_folder import join_folders as join_folders
    from .weak_folder import read_label_list as read_label_list
    from .weak_folder import read_labels_csv as read_labels_csv
    from .weak_set import WeakSet as WeakSet
    from .weak_set import read_weak_set as read_weak_set
    from .weak_source import read_weak_mask as read_weak_mask
    from .weak_source import read_weak_split as read_weak_split
    from .weak_statistics import compare_weak_with_release as compare_weak_with_release
    from .weak_statistics import format_weak_statistics as format_weak_statistics


def __getattr__(name: str):
    if name not in _PUBLIC_NAMES:
        raise AttributeError(f"module 'dense_hf.data' has no attribute '{name}'")
    return getattr(import_module(f".{_PUBLIC_NAMES[name]}", __name__), name)


def __dir__():
    return sorted(__all__)
