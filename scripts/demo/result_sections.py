"""Sections of docs/results.md that are not tables of `dense-hf compare`: that of attended_positions.py, and of others.

crops_released_affinity is what train_demo_weak.py wrote while its crops.yaml had the released affinity.

`results_page.py` makes them of the files of docs/results/ that are named as in `SECTIONS`.
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import coverage_of_ranges
import errors_by_picture
import moved_references
import parts_of_maps
import simulate_ranking
from tables import crops_table

from dense_hf.markdown import spread, table

Numbers = Mapping[str, Any]


def vgg_section(results: Numbers) -> str:
    """Numbers of attended_positions.py."""
    before, steps = results["before"], results["steps"]
    found = [
        (
            f"`feature_scale={scale}`",
            *(over_seeds([one[key] for one in seeds.values()], digits) for key, digits in VGG_COLUMNS.items()),
        )
        for scale, seeds in before.items()
    ]
    released = mean(one["attended_positions"] for one in before["1.0"].values())
    parts = [
        f"Before the first step a softmax weighs {released:.2f} of {results['positions']} positions: the released "
        f"recipe **{'saturates' if released < 2 else 'does not saturate'}** on VGG-16. {results['pairs']} pairs:",
        table(("", *VGG_HEADER), found, "lr"),
    ]
    if steps:
        rows = [
            (name, str(one["step"]), *(f"{one[key]:,.3g}" for key in ("loss", "gradient", *VGG_COLUMNS)))
            for name, told in steps.items()
            for one in told
        ]
        parts.append(table(("gradient", "after step", "loss", "its norm", *VGG_HEADER), rows, "lr"))
    return "\n\n".join(parts)


def over_seeds(values: Sequence[float], digits: int) -> str:
    """The mean, the lowest and the highest."""
    return spread(mean(values), min(values), max(values), f".{digits}f")


VGG_HEADER = ("attended positions", "standard deviation of P", "norm of F")
VGG_COLUMNS = {"attended_positions": 2, "standard_deviation_of_p": 0, "norm_of_f": 0}
SECTIONS = {
    "attended_positions": vgg_section,
    "coverage_of_ranges": coverage_of_ranges.section,
    "crops_released_affinity": crops_table,
    "errors_by_picture": errors_by_picture.section,
    "moved_references": moved_references.section,
    "parts_of_maps": parts_of_maps.section,
    "ranking": simulate_ranking.section,
}
