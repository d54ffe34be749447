"""Points of pictures with places on maps, as files that QGIS and other programs of maps open.

GeoPackage needs no library: it is an SQLite file whose tables the standard lays down (OGC 12-128r15), and pyogrio
would bring all of GDAL a second time. It has been read back with pyogrio.

By RFC 7946 coordinates of GeoJSON are longitude and latitude. A file in another system says so by the member `crs` of
the older GeoJSON of 2008, which QGIS, GDAL and geopandas obey; `crs="EPSG:4326"` makes what everybody reads.
"""

import json
import sqlite3
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import write_file
from .map_frames import WGS84, MapFrame, check_crs, reproject

_UNNAMED_SYSTEM = 100_000  # the number of a system without one
_TABLES = """
PRAGMA application_id = 0x47504B47;
PRAGMA user_version = 10300;
CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
  description TEXT DEFAULT '', last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL,
  geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
  CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name),
  CONSTRAINT uk_gc_table_name UNIQUE (table_name),
  CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id));
CREATE TABLE points (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom POINT, file TEXT, score DOUBLE, x DOUBLE,
  y DOUBLE);
INSERT INTO gpkg_spatial_ref_sys VALUES ('Undefined Cartesian', -1, 'NONE', -1, 'undefined', NULL);
INSERT INTO gpkg_spatial_ref_sys VALUES ('Undefined geographic', 0, 'NONE', 0, 'undefined', NULL);
"""


@dataclass(frozen=True)
class MappedPoints:
    """What was found in one picture.

    Attributes:
        file: its name.
        frame: its place.
        points: [n, 2] pixels (x right, y down).
        scores: [n].
    """

    file: str
    frame: MapFrame
    points: np.ndarray
    scores: Sequence[float]


def common_crs(pictures: Sequence[MappedPoints]) -> str:
    """The system of all pictures; longitude and latitude of WGS 84 if they have several."""
    found = {picture.frame.crs for picture in pictures}
    return found.pop() if len(found) == 1 else WGS84


def geojson_bytes(pictures: Sequence[MappedPoints], crs: str) -> bytes:
    """A FeatureCollection of points with `file`, `score` and the pixels `x` and `y`.

    Args:
        pictures: the points.
        crs: the system of the coordinates, which the file names unless it is WGS 84. GeoJSON has no way to name one
            without an authority: that is WGS 84 then.

    Raises:
        ValueError: see `reproject`.
    """
    authority, _, code = crs.partition(":")
    if not code.isdigit():
        authority, code, crs = *WGS84.split(":"), WGS84
    lines = []
    for picture, places in _placed(pictures, crs):
        for place, point, score in zip(places.tolist(), picture.points.tolist(), picture.scores):
            properties = {"file": picture.file, "score": score, "x": point[0], "y": point[1]}
            geometry = {"type": "Point", "coordinates": place}
            lines.append(json.dumps({"type": "Feature", "properties": properties, "geometry": geometry}))
    name = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:{authority}::{code}"}}
    member = "" if crs == WGS84 else f'"crs": {json.dumps(name)}, '
    body = ",\n".join(lines)
    return f'{{"type": "FeatureCollection", {member}"features": [\n{body}\n]}}\n'.encode()


def geopackage_bytes(pictures: Sequence[MappedPoints], crs: str) -> bytes:
    """An SQLite file with a table `points`, as `geojson_bytes`.

    Raises:
        ValueError: see `reproject`.
    """
    system = _system_row(crs)
    number = system[1]
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(_TABLES)
        rows = {4326: _system_row(WGS84), number: system}
        connection.executemany("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, NULL)", rows.values())
        placed = list(_placed(pictures, crs))
        everywhere = np.concatenate([np.zeros((0, 2)), *(places for _, places in placed)])
        bounds = [*everywhere.min(axis=0), *everywhere.max(axis=0)] if len(everywhere) else [None] * 4
        connection.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, min_x, min_y, max_x, max_y, srs_id) "
            "VALUES ('points', 'features', 'points', ?, ?, ?, ?, ?)",
            (*bounds, number),
        )
        connection.execute("INSERT INTO gpkg_geometry_columns VALUES ('points', 'geom', 'POINT', ?, 0, 0)", (number,))
        for picture, places in placed:
            connection.executemany(
                "INSERT INTO points (geom, file, score, x, y) VALUES (?, ?, ?, ?, ?)",
                (
                    # "GP", version 0, little-endian without an envelope; then well-known binary of a point
                    (struct.pack("<2sBBiBIdd", b"GP", 0, 1, number, 1, 1, *place), picture.file, float(score), *point)
                    for place, point, score in zip(places.tolist(), picture.points.tolist(), picture.scores)
                ),
            )
        connection.commit()
        return connection.serialize()
    finally:
        connection.close()


MAP_FORMATS = {"geojson": geojson_bytes, "gpkg": geopackage_bytes}


def write_map(path: Path, pictures: Sequence[MappedPoints], crs: str | None = None) -> None:
    """Write the points as `path` says by its ending, .geojson or .gpkg.

    Args:
        path: the file.
        pictures: the points.
        crs: the system of the coordinates; default is that of the pictures, see `common_crs`.

    Raises:
        ValueError: another ending, or see `reproject`.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in MAP_FORMATS:
        raise ValueError(f"A map of points ends in .{' or .'.join(MAP_FORMATS)}. Received: {path.name}")
    write_file(path, MAP_FORMATS[kind](pictures, crs or common_crs(pictures)))


def _placed(pictures: Sequence[MappedPoints], crs: str) -> list[tuple[MappedPoints, np.ndarray]]:
    return [(one, reproject(one.frame.to_map(one.points), one.frame.crs, crs)) for one in pictures]


def _system_row(crs: str) -> tuple[str, int, str, int, str]:
    """Name, number, authority, its number and definition."""
    definition = check_crs(crs).to_wkt(version="WKT1_GDAL")
    authority, _, code = crs.partition(":")
    if code.isdigit():
        return crs, int(code), authority, int(code), definition
    return "of the pictures", _UNNAMED_SYSTEM, "NONE", _UNNAMED_SYSTEM, definition
