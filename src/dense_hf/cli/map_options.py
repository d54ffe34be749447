"""Options of `dense-hf count` for mosaics, maps and regions."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError

if TYPE_CHECKING:
    from ..inference.count_tables import TableKinds

_FORMATS = ("geojson", "gpkg")


def add_band_options(parser: argparse.ArgumentParser) -> None:
    """`--bands` and `--nodata`, which `open_image` takes."""
    parser.add_argument(
        "--bands",
        type=_bands,
        metavar="R,G,B",
        help="which bands of a TIFF are red, green and blue, or one for gray, counted from 1 (default: those that the "
        "file calls so)",
    )
    parser.add_argument(
        "--nodata",
        type=float,
        metavar="VALUE",
        help='value of pixels of a TIFF that are not seen, or "nan" (default: what the file says); they are black, '
        "and no part of an area",
    )


def add_map_options(parser: argparse.ArgumentParser) -> None:
    """`--part-side`, `--region`, `--map` and `--map-crs`."""
    parser.add_argument(
        "--part-side",
        type=int,
        metavar="PIXELS",
        help="for mosaics and counters that see whole images: cut sides longer than this into equal parts, which are "
        "counted alone and not resized (default: as the checkpoint says). Counters with tiles do not need it",
    )
    parser.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="REGION",
        help="count what is in it, too: x0,y0,x1,y1 (a box in pixels), x0,y0,x1,y1,x2,y2,... (a polygon), a GeoJSON "
        "file of polygons (in map coordinates, if the image has some), or a mask, a PNG whose values above 0 are "
        "regions. May be given several times",
    )
    parser.add_argument(
        "--map",
        nargs="+",
        choices=_FORMATS,
        default=[],
        metavar="FORMAT",
        help=f"write the points of images that lie on a map as {' or '.join(_FORMATS)}, too",
    )
    parser.add_argument(
        "--map-crs",
        metavar="CRS",
        help='coordinate system of these files, such as EPSG:4326 for web maps (default: that of the images; "crs" in '
        "GeoJSON names it)",
    )


def kinds_of_tables(args: argparse.Namespace, images: Sequence[Path]) -> "TableKinds":
    """Which tables and maps a run writes.

    Raises:
        CommandError: a map of images of which none lies on one, or without rasterio.
    """
    from importlib.util import find_spec

    from ..data.geo.map_frames import check_crs
    from ..data.geo.tiff_directories import lies_on_a_map
    from ..inference.count_tables import MAP_NAME, TableKinds

    places = any(map(lies_on_a_map, images))
    readable = find_spec("rasterio") is not None
    if args.map and not readable:
        raise CommandError("--map needs rasterio: pip install 'dense_hf[geo]'")
    if args.map and not places:
        raise CommandError("--map: none of the images has a place on a map, as a GeoTIFF has")
    if args.map_crs is not None and not args.map:
        raise CommandError("--map-crs is of the files of --map, which is not given")
    if args.part_side is not None and args.part_side < 1:
        raise CommandError(f"--part-side is at least 1. Received: {args.part_side}")
    if args.map_crs is not None:
        try:
            check_crs(args.map_crs)
        except ValueError as error:
            raise CommandError(f"--map-crs: {error}") from error
    maps = tuple(f"{MAP_NAME}.{kind}" for kind in dict.fromkeys(args.map))
    return TableKinds(places and readable, bool(args.region), maps, args.map_crs)


def _bands(text: str) -> list[int]:
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"one number or three, from 1, such as 3,2,1. Received: {text}")
    return numbers
