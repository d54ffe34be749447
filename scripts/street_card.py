"""The results of `train_demo_video.py` as a table."""

from collections.abc import Mapping
from typing import Any


def percent(numbers: Mapping[str, float] | float | None) -> str:
    """ "61.2 (60.1 to 62.4)": mean, lowest and highest of several seeds, in percent; "61.2" of one; a dash of none."""
    if numbers is None or isinstance(numbers, float | int):
        return "-" if numbers is None else f"{100 * numbers:.1f}"
    return f"{100 * numbers['mean']:.1f} ({100 * numbers['lowest']:.1f} to {100 * numbers['highest']:.1f})"


def results_table(results: Mapping[str, Any]) -> str:
    """Markdown: a row per method and one for the map that never changes, then IoU of each class; all in percent."""
    methods, constant = results["methods"], results["most_frequent_label"]
    seeds = len(next(iter(methods.values()))["seeds"])
    lines = [
        f"Frames 600 to 794, against pseudo labels, in percent: mean of {seeds} seeds (lowest to highest). VC in the "
        "released protocol,",
        "then in that of the thesis' text.",
        "",
        "| | parameters | mIoU | VC8 | VC16 | VC8 (text) | VC16 (text) |",
        "|---|---|---|---|---|---|---|",
    ]
    columns = [
        ("released", "mean_iou"),
        ("released", "vc8"),
        ("released", "vc16"),
        ("thesis", "vc8"),
        ("thesis", "vc16"),
    ]
    for method in methods.values():
        cells = [percent(method[protocol][key]) for protocol, key in columns]
        lines.append(f"| {method['title']} | {method['parameters'] / 1e6:.2f} M | {' | '.join(cells)} |")
    cells = [percent(constant[protocol][key]) for protocol, key in columns]
    lines.append(f"| most frequent label of each pixel, no model | - | {' | '.join(cells)} |")
    lines += [
        "",
        "Minus SegFormer, seed by seed:",
        "",
        "| | mIoU | VC8 | VC16 | VC8 (text) | VC16 (text) |",
        "|---|---|---|---|---|---|",
    ]
    for name, method in methods.items():
        if name != "segformer":
            cells = [signed(method[f"{protocol}_minus_segformer"][key]) for protocol, key in columns]
            lines.append(f"| {method['title']} | {' | '.join(cells)} |")
    names = list(constant["per_class_iou"])
    lines += ["", f"| IoU | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for method in methods.values():
        cells = [percent(method["per_class_iou"][name]) for name in names]
        lines.append(f"| {method['title']} | {' | '.join(cells)} |")
    cells = [percent(constant["per_class_iou"][name]) for name in names]
    lines.append(f"| most frequent label | {' | '.join(cells)} |")
    return "\n".join(lines)


def signed(numbers: Mapping[str, float]) -> str:
    """ "+0.42 (-0.10 to +0.80)" in points."""
    return f"{100 * numbers['mean']:+.2f} ({100 * numbers['lowest']:+.2f} to {100 * numbers['highest']:+.2f})"
