"""The four density ranges of thesis Table 2.2: images by how many objects they have."""

from bisect import bisect_left

DENSITY_RANGES = ("0-50", "51-100", "101-200", ">200")
_UPPER_BOUNDS = (50, 100, 200)


def density_range(count: float) -> str:
    """The range that an image with `count` annotated objects belongs to."""
    return DENSITY_RANGES[bisect_left(_UPPER_BOUNDS, count)]
