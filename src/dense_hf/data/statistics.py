"""The numbers of thesis Tables 2.1 and 2.2 for a folder of images and points, and of the released IOCfish5K."""

from collections import Counter
from collections.abc import Mapping
from statistics import mean

from ..markdown import table
from ..metrics.density_ranges import DENSITY_RANGES, density_range
from .point_folder import SPLIT_LISTS, ImageSummary

# Thesis section 2.3.3 and the last rows of Tables 2.1 and 2.2.
RELEASED_IMAGES = {"train": 3137, "validation": 500, "test": 2000}
RELEASED_POINTS = 659_024
RELEASED_STATISTICS = (
    "The thesis has: 5,637 images, 1080 x 1920, 659,024 points, min 0, average 117, max 2,371; "
    "2,663 + 1,000 + 957 + 1,017 images in the ranges."
)


def compare_with_release(list_lengths: Mapping[str, int], summaries: list[ImageSummary]) -> list[str]:
    """One sentence per difference to the released IOCfish5K; empty for the full set.

    The points are compared only if every image of the lists has a summary. The thesis does not say whether its
    659,024 points include those that are left out, so either total is right.

    Args:
        list_lengths: split to the number of ids in its list.
        summaries: of all images that could be read.
    """
    problems = [
        f"{SPLIT_LISTS[split]} has {list_lengths.get(split, 0):,} images instead of {expected:,}"
        for split, expected in RELEASED_IMAGES.items()
        if list_lengths.get(split, 0) != expected
    ]
    kept = sum(summary.count for summary in summaries)
    dropped = sum(summary.num_dropped for summary in summaries)
    if len(summaries) == sum(list_lengths.values()) and RELEASED_POINTS not in (kept, kept + dropped):
        problems.append(f"{kept + dropped:,} points, {dropped:,} of them left out, instead of {RELEASED_POINTS:,}")
    return problems


def format_statistics(summaries: list[ImageSummary]) -> str:
    """Both tables as Markdown, a row per split and one for all. Resolution is height x width, as in Table 2.1."""
    rows = {split: [summary for summary in summaries if summary.split == split] for split in SPLIT_LISTS}
    rows = {split: members for split, members in rows.items() if members} | {"all": summaries}
    points, sizes = [], []
    for name, members in rows.items():
        counts = [member.count for member in members]
        dropped = sum(member.num_dropped for member in members)
        average = f"{mean(counts):.1f}"
        resolution = f"{mean(m.height for m in members):.0f} x {mean(m.width for m in members):.0f}"
        points.append([name, len(members), resolution, sum(counts), min(counts), average, max(counts), dropped])
        ranges = Counter(density_range(count) for count in counts)
        sizes.append([name, *(ranges[key] for key in DENSITY_RANGES), len(members)])
    head = ("split", "images", "average resolution", "points", "min", "average", "max", "left out")
    by_number = table(("split", *DENSITY_RANGES, "images"), sizes, "lr")
    return f"{table(head, points, 'lr')}\n\nImages by number of objects:\n\n{by_number}"
