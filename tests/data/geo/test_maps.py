"""From pixels to maps and back, areas on the ground, and files that programs of maps read."""

import json
import sqlite3
import struct

import numpy as np
import pytest
from small_maps import ROTATED, TEN_CENTIMETERS, UTM

from dense_hf.data.geo.map_frames import MapFrame, PixelAreas, check_crs, reproject
from dense_hf.data.geo.map_points import MappedPoints, write_map

rasterio = pytest.importorskip("rasterio")

POINTS = np.random.default_rng(0).uniform(0, 4000, (1000, 2))
FRAMES = {
    "north up": MapFrame(TEN_CENTIMETERS, UTM),
    "rotated": MapFrame(ROTATED, UTM),
    "degrees": MapFrame((1e-6, 0.0, 9.0, 0.0, -1e-6, 47.0), "EPSG:4326"),
    "sheared": MapFrame((0.1, 0.03, 300_000.0, -0.02, -0.12, 5_000_000.0), "EPSG:25833"),
}


def mapped(frame, points=POINTS):
    return MappedPoints("a.tif", frame, points, [0.5] * len(points))


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_both_ways_are_those_of_rasterio(frame):
    transform = rasterio.Affine(*frame.transform)
    np.testing.assert_allclose(frame.to_map(POINTS), np.stack(transform @ POINTS.T, axis=1), rtol=1e-15)
    np.testing.assert_allclose(frame.to_pixels(frame.to_map(POINTS)), POINTS, atol=2e-5)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("crs", [None, "EPSG:4326", "EPSG:3857"])
def test_files_of_maps_have_the_points(tmp_path, frame, crs):
    """Read by their own standards and taken back to pixels: within a hundredth of one."""
    expected = crs or frame.crs
    write_map(tmp_path / "points.geojson", [mapped(frame)], crs)
    document = json.loads((tmp_path / "points.geojson").read_text())
    name = document.get("crs", {"properties": {"name": "urn:ogc:def:crs:EPSG::4326"}})["properties"]["name"]
    assert name == f"urn:ogc:def:crs:EPSG::{expected.split(':')[1]}"
    assert ("crs" in document) == (expected != "EPSG:4326")
    places = np.array([feature["geometry"]["coordinates"] for feature in document["features"]])
    np.testing.assert_allclose(frame.to_pixels(reproject(places, expected, frame.crs)), POINTS, atol=0.01)
    assert document["features"][7]["properties"] == {
        "file": "a.tif",
        "score": 0.5,
        "x": POINTS[7, 0],
        "y": POINTS[7, 1],
    }

    write_map(tmp_path / "points.gpkg", [mapped(frame)], crs)
    with sqlite3.connect(tmp_path / "points.gpkg") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"GPKG"),)
        (number,) = connection.execute("SELECT srs_id FROM gpkg_geometry_columns").fetchone()
        blobs = [blob for (blob,) in connection.execute("SELECT geom FROM points ORDER BY fid")]
        bounds = connection.execute("SELECT min_x, min_y, max_x, max_y FROM gpkg_contents").fetchone()
        (wkt,) = connection.execute(
            "SELECT definition FROM gpkg_spatial_ref_sys WHERE srs_id = ?", (number,)
        ).fetchone()
    assert number == int(expected.split(":")[1])
    assert check_crs(wkt) == check_crs(expected)
    assert {blob[:8] for blob in blobs} == {b"GP\0\x01" + struct.pack("<i", number)}
    np.testing.assert_array_equal([struct.unpack("<dd", blob[13:]) for blob in blobs], places)
    np.testing.assert_array_equal(bounds, [*places.min(axis=0), *places.max(axis=0)])


def test_other_programs_read_the_geopackage(tmp_path):
    pyogrio = pytest.importorskip("pyogrio")
    write_map(tmp_path / "points.gpkg", [mapped(FRAMES["rotated"])])
    meta, _, geometry, fields = pyogrio.raw.read(tmp_path / "points.gpkg")
    assert (meta["crs"], meta["geometry_type"]) == (UTM, "Point")
    places = np.array([struct.unpack("<dd", one[5:]) for one in geometry])
    np.testing.assert_allclose(FRAMES["rotated"].to_pixels(places), POINTS, atol=1e-4)
    assert list(meta["fields"]) == ["file", "score", "x", "y"]
    assert fields[1][0] == 0.5


def test_pictures_of_several_systems_meet_in_degrees(tmp_path):
    several = [mapped(FRAMES["north up"], POINTS[:3]), mapped(FRAMES["sheared"], POINTS[:2])]
    write_map(tmp_path / "a.geojson", several)
    document = json.loads((tmp_path / "a.geojson").read_text())
    assert "crs" not in document
    longitudes = [feature["geometry"]["coordinates"][0] for feature in document["features"]]
    assert len(longitudes) == 5
    assert max(longitudes[:3]) < 10 < 12 < min(longitudes[3:])
    write_map(tmp_path / "none.gpkg", [])
    write_map(tmp_path / "none.geojson", [])
    assert json.loads((tmp_path / "none.geojson").read_text())["features"] == []


def test_a_system_without_a_number(tmp_path):
    """GeoPackage keeps its definition; GeoJSON cannot name it and has degrees."""
    local = "+proj=tmerc +lat_0=47 +lon_0=9.1 +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m"
    frame = MapFrame((0.1, 0, 10, 0, -0.1, 20), check_crs(local).to_wkt())
    write_map(tmp_path / "a.geojson", [mapped(frame)])
    document = json.loads((tmp_path / "a.geojson").read_text())
    assert "crs" not in document
    assert document["features"][0]["geometry"]["coordinates"] == pytest.approx([9.1, 47], abs=0.01)
    write_map(tmp_path / "a.gpkg", [mapped(frame)])
    with sqlite3.connect(tmp_path / "a.gpkg") as connection:
        ((wkt, number),) = connection.execute(
            "SELECT definition, s.srs_id FROM gpkg_spatial_ref_sys s JOIN gpkg_geometry_columns g USING (srs_id)"
        ).fetchall()
    assert number == 100_000
    assert check_crs(wkt).to_dict()["lon_0"] == 9.1
    with pytest.raises(ValueError, match="no coordinate system EPSG:99999999"):
        check_crs("EPSG:99999999")


def test_areas_are_those_on_the_ground():
    """A pixel of a projection is what its numbers say; of degrees and of Web Mercator what the earth has there."""
    assert PixelAreas(FRAMES["north up"], 4000, 3000).of_rows(0, 3000) == pytest.approx(0.01)
    assert PixelAreas(FRAMES["rotated"], 4000, 3000).of_rows(0, 3000) == pytest.approx(0.01)
    # of the ellipsoid of WGS 84: meters of a degree at 60 degrees north
    east, north = 55_800.0, 111_412.3
    at_sixty = MapFrame((1e-5, 0, 10, 0, -1e-5, 60), "EPSG:4326")
    assert PixelAreas(at_sixty, 100, 100).of_rows(0, 100) == pytest.approx(east * north * 1e-10, rel=1e-4)
    # Web Mercator is enlarged by 1 / cos(latitude) in both directions, on a sphere
    x, y = reproject(np.array([[10.0, 60.0]]), "EPSG:4326", "EPSG:3857")[0]
    mercator = PixelAreas(MapFrame((0.5, 0, x, 0, -0.5, y), "EPSG:3857"), 100, 100)
    assert mercator.of_rows(0, 100) == pytest.approx(0.25 / 4, rel=0.01)
    # feet
    feet = PixelAreas(MapFrame((1.0, 0, 2_000_000, 0, -1.0, 500_000), "EPSG:2263"), 100, 100)
    assert feet.of_rows(0, 50) == pytest.approx(0.3048**2, rel=1e-4)
    # ten degrees of latitude: the pixels of the north are smaller, and the sum over rows is that of the whole
    tall = PixelAreas(MapFrame((0.01, 0, 10, 0, -0.01, 60), "EPSG:4326"), 100, 1000)
    strips = [tall.of_rows(top, top + 10) for top in range(0, 1000, 10)]
    assert strips == sorted(strips)
    assert np.mean(strips) == pytest.approx(tall.of_rows(0, 1000), rel=2e-4)
