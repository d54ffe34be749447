"""`dense-hf count` of mosaics: by windows as at once, with places on a map and regions."""

import csv
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image
from small_maps import ROTATED, UTM, write_map
from tiny_counters import tiny_counter

from dense_hf.cli import main
from dense_hf.counting.image_processing_counter import CounterImageProcessor
from dense_hf.data.formats import read_annotations
from dense_hf.data.geo import pictures
from dense_hf.data.geo.map_frames import MapFrame, reproject

rasterio = pytest.importorskip("rasterio")

HEIGHT, WIDTH = 150, 230


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    """A rotated GeoTIFF of noise in tiles of 64 pixels; 30 columns on the right are nodata."""
    pixels = np.random.default_rng(0).integers(1, 256, (3, HEIGHT, WIDTH), dtype=np.uint8)
    pixels[:, :, -30:] = 0
    folder = tmp_path_factory.mktemp("mosaic")
    profile = {"tiled": True, "blockxsize": 64, "blockysize": 64, "photometric": "RGB", "nodata": 0}
    return write_map(folder / "mosaic.tif", pixels, ROTATED, **profile)


@pytest.fixture(scope="module")
def density_checkpoint(tmp_path_factory):
    """MCNN, which sees whole images and resizes them to multiples of 4."""
    folder = tmp_path_factory.mktemp("mcnn")
    model = tiny_counter("mcnn")
    model.save_pretrained(folder)
    CounterImageProcessor(**model.config.processor_settings).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def count(tmp_path, capsys):
    """`count(source, model, *options)`: the tables by name, and what was said."""

    def run(source, model, *options, code=0):
        output = tmp_path / "out"
        assert main(["count", str(source), "--output", str(output), "--model", model, "--overwrite", *options]) == code
        tables = {}
        for path in output.glob("*.csv"):
            with open(path, newline="") as file:
                tables[path.stem] = list(csv.DictReader(file))
        said = capsys.readouterr()
        return tables, said.out + said.err, output

    return run


def by_windows(monkeypatch):
    """From here on, pictures of more than 1000 pixels are mosaics."""
    monkeypatch.setattr(pictures, "OpenedPicture", partial(pictures.OpenedPicture, max_pixels=1000))
    monkeypatch.setattr("dense_hf.inference.picture_counts.OVERLAY_SIDE", 100)


def test_windows_count_like_the_whole(counter_checkpoint, mosaic, count, monkeypatch):
    options = ("--tile-overlap", "16", "--region", "20,30,150,100", "--threshold", "0.4")
    whole, _, output = count(mosaic, counter_checkpoint, *options)
    assert Image.open(output / "overlays" / "mosaic.tif_density.png").size == (WIDTH, HEIGHT)
    by_windows(monkeypatch)
    parts, _, output = count(mosaic, counter_checkpoint, *options)
    assert parts["points"] == whole["points"] != []
    assert parts["counts"] == whole["counts"]
    assert parts["regions"] == whole["regions"]
    for kind in ("points", "density"):
        assert max(Image.open(output / "overlays" / f"mosaic.tif_{kind}.png").size) == 100


def test_counters_that_see_whole_images_say_what_they_need(density_checkpoint, mosaic, count, monkeypatch):
    options = ("--part-side", "64", "--region", "0,0,100,150", "--region", "100,0,230,150", "--no-overlays")
    whole, _, _ = count(mosaic, density_checkpoint, *options)
    by_windows(monkeypatch)
    parts, _, _ = count(mosaic, density_checkpoint, *options)
    assert parts == whole
    found = [float(row["count"]) for row in parts["regions"]]
    assert found == [float(row["density_count"]) for row in parts["regions"]]
    assert sum(found) == pytest.approx(float(parts["counts"][0]["density_count"]), rel=1e-6)
    assert "--part-side 1024" in count(mosaic, density_checkpoint, code=2)[1]


def test_places_areas_and_maps(counter_checkpoint, mosaic, count):
    """The columns are the affine transform of rasterio; nodata is no part of the area (0.1 m a pixel)."""
    tables, said, output = count(mosaic, counter_checkpoint, "--no-overlays", "--map", "geojson", "gpkg")
    (image,) = tables["counts"]
    assert image["crs"] == UTM
    area = HEIGHT * (WIDTH - 30) * 0.01
    number = int(image["count"])
    assert float(image["area_m2"]) == pytest.approx(area)
    assert float(image["per_m2"]) == pytest.approx(number / area)
    assert float(image["per_hectare"]) == pytest.approx(1e4 * number / area)
    assert "per hectare" in said
    with rasterio.open(mosaic) as dataset:
        for point in tables["points"]:
            expected = dataset.transform @ (float(point["x"]), float(point["y"]))
            assert (float(point["map_x"]), float(point["map_y"])) == pytest.approx(expected, abs=1e-6)
    features = json.loads((output / "points.geojson").read_text())["features"]
    places = [feature["geometry"]["coordinates"] for feature in features]
    np.testing.assert_allclose(places, [(float(p["map_x"]), float(p["map_y"])) for p in tables["points"]], atol=1e-6)
    assert (output / "points.gpkg").read_bytes().startswith(b"SQLite format 3")
    (annotated,) = corrected = read_annotations(output / "points.csv")  # the table can be corrected and fed back
    assert (len(annotated), corrected.problems) == (number, ())
    document = json.loads((output / "counts.json").read_text())
    assert document["images"][0]["place"]["transform"] == list(ROTATED)


def test_regions_of_every_kind_agree(counter_checkpoint, mosaic, count, tmp_path):
    """A box in pixels, the same as a mask, and as GeoJSON in the system of the file and in degrees."""
    frame = MapFrame(ROTATED, UTM)
    corners = [(40, 20), (140, 20), (140, 90), (40, 90), (40, 20)]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:90, 40:140] = 7
    Image.fromarray(mask).save(tmp_path / "mask.png")
    places = frame.to_map(corners)
    for name, crs, numbers in (
        ("own", UTM, places),
        ("degrees", None, reproject(places, UTM, "EPSG:4326")),
        ("unsaid", None, places),
    ):
        geometry = {"type": "Polygon", "coordinates": [numbers.tolist()]}
        feature = {"type": "Feature", "properties": {"name": f"field {name}"}, "geometry": geometry}
        document = {"type": "FeatureCollection", "features": [feature]}
        if crs:
            document["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
        (tmp_path / f"{name}.geojson").write_text(json.dumps(document))
    sources = [
        "40,20,140,90",
        str(tmp_path / "mask.png"),
        *(str(tmp_path / f"{n}.geojson") for n in ("own", "degrees")),
    ]
    options = [word for source in [*sources, str(tmp_path / "unsaid.geojson")] for word in ("--region", source)]
    tables, said, _ = count(mosaic, counter_checkpoint, "--no-overlays", *options)
    rows = tables["regions"]
    assert [row["region"] for row in rows] == ["1", "7", "field own", "field degrees", "field unsaid"]
    assert len({row["count"] for row in rows}) == 1
    assert int(rows[0]["count"]) == sum(
        40 <= float(p["x"]) < 140 and 20 <= float(p["y"]) < 90 for p in tables["points"]
    )
    for row in rows:
        assert int(row["pixels"]) == pytest.approx(7000, abs=100)
        assert float(row["area_m2"]) == pytest.approx(int(row["pixels"]) * 0.01)
        assert float(row["density_count"]) == pytest.approx(float(rows[0]["density_count"]), rel=0.02)
    assert "unsaid.geojson names no `crs`" in said


def test_a_grid_of_regions_adds_up(counter_checkpoint, mosaic, count):
    cells = [(x, y, x + 46, y + 50) for x in range(0, WIDTH, 46) for y in range(0, HEIGHT, 50)]
    options = [word for cell in cells for word in ("--region", ",".join(map(str, cell)))]
    tables, _, _ = count(mosaic, counter_checkpoint, "--no-overlays", *options)
    (image,) = tables["counts"]
    assert sum(int(row["count"]) for row in tables["regions"]) == int(image["count"])
    densities = sum(float(row["density_count"]) for row in tables["regions"])
    assert densities == pytest.approx(float(image["density_count"]), rel=1e-5)
    assert sum(float(row["area_m2"]) for row in tables["regions"]) == pytest.approx(float(image["area_m2"]))


def test_a_run_that_was_stopped_goes_on(counter_checkpoint, mosaic, count, tmp_path):
    options = ("--no-overlays", "--region", "0,0,100,100", "--map", "geojson")
    before, _, output = count(mosaic, counter_checkpoint, *options)
    document = (output / "points.geojson").read_bytes()
    (output / "points.geojson").unlink()
    after, _, _ = count(mosaic, counter_checkpoint, *options, "--resume")
    assert after == before
    assert (output / "points.geojson").read_bytes() == document
    others = ("--no-overlays", "--region", "0,0,100,101", "--map", "geojson", "--resume")
    assert "regions ['0,0,100,100']" in count(mosaic, counter_checkpoint, *others, code=2)[1]


def test_what_cannot_be_is_refused(counter_checkpoint, mosaic, tmp_path, capsys):
    Image.new("RGB", (70, 70)).save(tmp_path / "a.png")
    Image.new("L", (70, 71)).save(tmp_path / "mask.png")
    (tmp_path / "line.geojson").write_text('{"type": "LineString", "coordinates": [[0, 0], [1, 1]]}')
    (tmp_path / "open.geojson").write_text('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 2], [3, 3]]]}')
    crs = '"crs": {"type": "name", "properties": {"name": "EPSG:32632"}}'
    ring = "[[[0, 0], [9, 0], [9, 9], [0, 0]]]"
    (tmp_path / "map.geojson").write_text(f'{{"type": "Polygon", {crs}, "coordinates": {ring}}}')
    base = ["count", str(tmp_path / "a.png"), "--output", str(tmp_path / "out"), "--model", counter_checkpoint]
    for options, message in (
        (["--map", "gpkg"], "none of the images has a place on a map"),
        (["--map-crs", "EPSG:4326"], "--map, which is not given"),
        (["--part-side", "64"], "counts tiles of 64 pixels"),
        (["--bands", "1,2,3"], "a TIFF file"),
        (["--region", "5,5,5,9"], "x0 < x1"),
        (["--region", str(tmp_path / "mask.png")], "70 x 71"),
        (["--region", str(tmp_path / "absent.geojson")], "absent.geojson"),
        (["--region", str(tmp_path / "line.geojson")], "a Polygon or a MultiPolygon"),
        (["--region", str(tmp_path / "open.geojson")], "the last one like the first"),
        (["--region", str(tmp_path / "map.geojson")], "without a place on a map"),
    ):
        assert main([*base, *options]) == 2
        assert message in capsys.readouterr().err, options
    base[1] = str(mosaic)
    assert main([*base, "--map", "gpkg", "--map-crs", "EPSG:99999999"]) == 2
    assert "no coordinate system EPSG:99999999" in capsys.readouterr().err
