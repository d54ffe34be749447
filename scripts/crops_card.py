"""The results of `train_demo_weak.py` as a table."""

from collections.abc import Mapping
from typing import Any

from street_card import percent, signed


def results_table(results: Mapping[str, Any]) -> str:
    """Markdown: a row per classifier and way of localisation, mean IoU and what it has more than the basic one."""
    rows = results["rows"]
    first = next(iter(rows.values()))
    names = list(first["segmentation"]["per_class_iou"])
    lines = [
        "Against PSEUDO masks, in percent: pseudo labels of the training crops, and on the test crops the segmenter",
        f"that learned from them. Mean of {len(first['seeds'])} seeds (lowest to highest).",
        "",
        "| | mIoU of pseudo labels | minus basic | mIoU of segmenter | minus basic |",
        "|---|---|---|---|---|",
    ]
    for row in rows.values():
        cells = [
            text
            for what in ("pseudo_labels", "segmentation")
            for text in (percent(row[what]["mean_iou"]), signed(row[what]["minus_basic"]))
        ]
        lines.append(f"| {row['title']} | {' | '.join(cells)} |")
    constants = results["without_model"]
    for title, scores in constants.items():
        values = [percent(scores[what]["mean_iou"]) for what in ("pseudo_labels", "segmentation")]
        lines.append(f"| {title}, no model | {values[0]} | - | {values[1]} | - |")
    lines += ["", f"| IoU of the segmenter | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row in rows.values():
        cells = [percent(row["segmentation"]["per_class_iou"][name]) for name in names]
        lines.append(f"| {row['title']} | {' | '.join(cells)} |")
    for title, scores in constants.items():
        cells = [percent(scores["segmentation"]["per_class_iou"][name]) for name in names]
        lines.append(f"| {title}, no model | {' | '.join(cells)} |")
    return "\n".join(lines)
