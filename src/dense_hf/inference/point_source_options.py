"""Options of every script that reads pictures with points: their files, and how they are split."""

from dataclasses import dataclass

from ..counting.picture_values import check_white
from ..data.point_source import PointSource
from ..options import option


@dataclass
class PointSourceArguments:
    """What `data_dir` needs beside it, if it is not a folder in the layout of IOCfish5K."""

    images_dir: str | None = option(
        None, "The folder of the pictures. Default: that of the annotations, or images/ beside it."
    )
    annotation_format: str | None = option(
        None, "Of the annotations, see dense-hf annotations --help. Default: found from their content."
    )
    polygon_point: str = option("box", "Where the point of a polygon or mask is: centre of its box, or centroid.")
    validation_data: str | None = option(None, "Annotations of the validation pictures, in a file of their own.")
    test_data: str | None = option(None, "Annotations of the test pictures, in a file of their own.")
    validation: float = option(0.0, "Share of the pictures for validation, e.g. 0.2, if data_dir has no splits.")
    test: float = option(0.0, "Share of the pictures for the test, likewise.")
    split_seed: int = option(0, "Of the random shares; the same seed gives the same pictures.")
    white: str | None = option(
        None, "Value of white in pictures of 16 bits or floats, or 99.9%%, see dense-hf count. Default: 65535."
    )
    bands: list[int] | None = option(
        None, "Bands of TIFF files that are red, green and blue, or one, from 1. Default: as the file calls them."
    )
    nodata: float | None = option(
        None, "Value of pixels of TIFF files that are not seen, or nan. Default: as the file says."
    )

    def find_problems(self) -> list[str]:
        """What cannot work, one sentence each; with that of another parent, if there is one."""
        others: list[str] = getattr(super(), "find_problems", list)()
        if self.bands is not None and (len(self.bands) not in (1, 3) or min(self.bands) < 1):
            others = [*others, f"bands must be one number or three, from 1, received {self.bands}"]
        try:
            check_white(self.white)
        except ValueError as error:
            others = [*others, str(error)]
        return others + self.point_source("").find_problems()

    def point_source(self, data_dir: str) -> PointSource:
        """What to read."""
        return PointSource(
            data_dir,
            images_dir=self.images_dir,
            format=self.annotation_format,
            polygon_point=self.polygon_point,
            validation_data=self.validation_data,
            test_data=self.test_data,
            validation=self.validation,
            test=self.test,
            seed=self.split_seed,
            reading={
                name: value for name in ("white", "bands", "nodata") if (value := getattr(self, name)) is not None
            },
        )
