"""CVAT XML 1.1, for images and for video.

Sub-pixels: numbers are pixels from the outer corner; a mask is rows of its box, a box turns about its centre.

A track of a video is one object in each frame from its first shape until one that is marked outside; between two
shapes it moves in a straight line, as CVAT shows it. Pictures of a video are called frame_000000 and so on. Measured
against datumaro 1.13.12, which needs the pictures beside the file and keeps shapes that are marked outside (5 objects
instead of 4).
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from ..files import write_file
from .entries import BadEntry, class_name, parsed, size_of
from .names import written_split
from .reading import Picture, Reading
from .records import AnnotatedImage
from .runs import pixels_of_counts
from .shapes import around, around_ellipse, around_turned_box, centre_of

SUFFIXES = (".xml",)
_SHAPES = ("points", "box", "polygon", "ellipse", "mask", "skeleton", "cuboid", "polyline", "tag")
_SIDES = ("xtl", "ytl", "xbr", "ybr")
_MAX_FRAME_OBJECTS = 2_000_000
_MAX_FRAMES = 200_000


def is_cvat(root: Element) -> bool:
    """Whether a document of XML is one of CVAT."""
    return root.tag == "annotations" and any(root.find(tag) is not None for tag in ("image", "track", "meta"))


def read(reading: Reading) -> None:
    """All XML files."""
    for path in reading.files(*SUFFIXES):
        with reading.entry(path, ""):
            root = reading.xml(path)
            if not is_cvat(root):
                raise BadEntry("<annotations> of CVAT with <image> or <track>", f"the root <{root.tag}>")
            _File(reading, path, root).read()


class _File:
    def __init__(self, reading: Reading, path: Path, root: Element):
        self.reading, self.path, self.root = reading, path, root
        self.labels = {(node.findtext("name") or "").strip() for node in root.iterfind("./meta//label")}

    def read(self) -> None:
        for node in self.root.iterfind("image"):
            with self.reading.entry(self.path, f"image {node.get('id')}"):
                size = size_of(node.get("width"), node.get("height"))
                picture = self.reading.picture(node.get("name"), size, self.path, written_split(node.get("subset")))
                for number, shape in enumerate(node, start=1):
                    where = f"shape {number}"
                    with self.reading.entry(self.path, f"image {node.get('id')}, {where}"):
                        self._read_shape(picture, shape, self._label(shape.get("label"), picture, where), where)
        if tracks := self.root.findall("track"):
            self._read_tracks(tracks)

    def _label(self, written: str | None, picture: Picture, where: str) -> str | None:
        name = class_name(written)
        if self.labels and name is not None and name not in self.labels:
            self.reading.notice("of a label that the task does not list", f"{picture.name}, {where}: {name}")
        return name

    def _read_shape(self, picture: Picture, shape: Element, name: str | None, where: str) -> None:
        place = f"{picture.name}, {where}"
        if shape.tag not in _SHAPES:
            raise BadEntry(f"one of <{'>, <'.join(_SHAPES)}>", f"<{shape.tag}>")
        if shape.tag == "tag":
            return self.reading.drop("tags of whole pictures", place)
        if shape.tag == "polyline":
            return self.reading.drop("lines", place)
        if shape.get("outside") == "1":
            return self.reading.drop("marked as outside", place)
        if shape.get("occluded") == "1":
            self.reading.notice("marked as occluded", place)
        if shape.tag == "points":
            for point in _points(shape):
                picture.add(point, name, where)
            return None
        if shape.tag == "box":
            box = _numbers(shape, _SIDES)
            degrees = parsed(shape.get("rotation") or "0", "rotation")
            if degrees:
                self.reading.notice("turned boxes, at their centre", place)
                box = around_turned_box(box, centre_of(box), degrees)
            return picture.add_box(box, name, where)
        if shape.tag == "polygon":
            return picture.add_polygon([_points(shape)], name, where)
        if shape.tag == "ellipse":
            x, y, radius_x, radius_y = _numbers(shape, ("cx", "cy", "rx", "ry"))
            degrees = parsed(shape.get("rotation") or "0", "rotation")
            return picture.add_box(around_ellipse(x, y, radius_x, radius_y, degrees), name, where)
        if shape.tag == "mask":
            left, top, width, height = (int(value) for value in _numbers(shape, ("left", "top", "width", "height")))
            if width < 1 or height < 1:
                raise BadEntry("a mask with a width and a height above 0", f"{width} x {height}")
            counts = np.array([parsed(one, "run length") for one in (shape.get("rle") or "").split(",")], np.int64)
            # the last run is left out where it is background, as some versions write it
            missing = width * height - int(counts.sum())
            counts = np.append(counts, [missing] if len(counts) % 2 == 0 else [0, missing]) if missing > 0 else counts
            return picture.add_pixels(pixels_of_counts(counts, width, height).moved(left, top), name, where)
        if shape.tag == "cuboid":
            corners = [
                (parsed(shape.get(f"x{one}"), f"x{one}"), parsed(shape.get(f"y{one}"), f"y{one}"))
                for one in ("tl1", "bl1", "tr1", "br1", "tl2", "bl2", "tr2", "br2")
            ]
            return picture.add_box(around(corners), name, where)
        inner = [point for node in shape.iterfind("points") if node.get("outside") != "1" for point in _points(node)]
        if not inner:
            return self.reading.drop("skeletons without a visible point", place)
        return picture.add(centre_of(around(inner)), name, where)

    def _read_tracks(self, tracks: list[Element]) -> None:
        size, num_frames, first = self._video()
        shapes = [sorted((int(parsed(node.get("frame"), "frame")), i) for i, node in enumerate(one)) for one in tracks]
        last = max((frames[-1][0] for frames in shapes if frames), default=-1)
        earliest = min((frames[0][0] for frames in shapes if frames), default=0)
        if earliest < 0:
            raise BadEntry("frames of at least 0", earliest)
        first = first if earliest >= first else 0  # frames of some exports begin at 0, whatever the first is
        end = max(first + num_frames, last + 1)
        if end - first > _MAX_FRAMES or (end - first) * len(tracks) > _MAX_FRAME_OBJECTS:
            raise BadEntry(
                f"at most {_MAX_FRAME_OBJECTS} objects of all frames", f"{len(tracks)} tracks, {end} frames"
            )
        pictures = {frame: self.reading.picture(f"frame_{frame:06d}", size, self.path) for frame in range(first, end)}
        for track, frames in zip(tracks, shapes):
            where = f"track {track.get('id')}"
            with self.reading.entry(self.path, where):
                if not frames:
                    raise BadEntry("at least one shape", "none")
                name = self._label(track.get("label"), pictures[frames[0][0]], where)
                for (frame, index), (until, following) in pairwise([*frames, (end, -1)]):
                    node, after = track[index], track[following] if following >= 0 else None
                    if node.get("outside") == "1":
                        self.reading.drop("marked as outside", f"{where}, frame {frame}")
                        continue
                    for at in range(frame, until):
                        share = (at - frame) / (until - frame)
                        if at > frame:
                            reason = "behind the last" if after is None else "on the straight line between two"
                            self.reading.notice(f"{reason} drawn shapes of a track", f"{where}, frame {at}")
                        moved = node if after is None or at == frame else _between(node, after, share)
                        self._read_shape(pictures[at], moved, name, where)

    def _video(self) -> tuple[tuple[int, int] | None, int, int]:
        """Size of the frames, their number, and the first."""
        meta = self.root.find("meta")
        node = None if meta is None else meta.find(".//original_size")
        size = None if node is None else size_of(node.findtext("width"), node.findtext("height"))
        texts = {} if meta is None else {tag: meta.findtext(f".//{tag}") for tag in ("size", "start_frame")}
        number = parsed(texts.get("size") or "0", "number of frames")
        return size, int(number), int(parsed(texts.get("start_frame") or "0", "first frame"))


def _points(node: Element) -> list[tuple[float, float]]:
    found = []
    for pair in (node.get("points") or "").split(";"):
        x, comma, y = pair.partition(",")
        if not comma:
            raise BadEntry("points as x,y;x,y", repr(node.get("points")))
        found.append((parsed(x, "x"), parsed(y, "y")))
    return found


def _numbers(node: Element, names: Sequence[str]) -> tuple[float, float, float, float]:
    first, second, third, fourth = (parsed(node.get(name), name) for name in names)
    return first, second, third, fourth


def _between(node: Element, after: Element, share: float) -> Element:
    """The shape at a share of the way to the next one; the same shape, where the two cannot be compared."""
    moved = Element(node.tag, dict(node.attrib))
    moved.extend(list(node))
    for name in (*_SIDES, "cx", "cy", "rx", "ry"):
        if (start := node.get(name)) is not None and (end := after.get(name)) is not None:
            value = parsed(start, name) + share * (parsed(end, name) - parsed(start, name))
            moved.set(name, format(value, ".12f"))
    if node.get("points") and after.get("points"):
        start, end = np.array(_points(node)), np.array(_points(after))
        if start.shape == end.shape:
            points = (start + share * (end - start)).tolist()
            moved.set("points", ";".join(f"{x:.12f},{y:.12f}" for x, y in points))
    return moved


def write(records: Sequence[AnnotatedImage], path: Path) -> None:
    """CVAT for images: a <points> per object.

    Raises:
        ValueError: a record without name or size.
    """
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    for name in dict.fromkeys(name or "object" for record in records for name in record.classes):
        SubElement(SubElement(labels, "label"), "name").text = name
    for number, record in enumerate(records):
        if record.size is None or record.image is None:
            raise ValueError(f"CVAT needs the name and the size of each picture. Received: {record.image}")
        width, height = map(str, record.size)
        subset = {} if record.split is None else {"subset": record.split.capitalize()}  # as CVAT calls its own
        told = {"id": str(number), "name": record.image, **subset, "width": width, "height": height}
        image = SubElement(root, "image", told)
        for (x, y), name in zip(record.points.tolist(), record.classes):
            where = f"{np.format_float_positional(x)},{np.format_float_positional(y)}"
            SubElement(
                image, "points", label=name or "object", source="manual", occluded="0", points=where, z_order="0"
            )
    indent(root)
    write_file(path, tostring(root, encoding="utf-8", xml_declaration=True))
