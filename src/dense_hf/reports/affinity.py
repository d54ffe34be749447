"""The card of a trained AffinityNet: what was run, on which data."""

from pathlib import Path

from huggingface_hub import ModelCardData

from .model_card import RunDescription, how_it_was_made, save_card


def write_affinity_card(output_dir: Path, run: RunDescription) -> None:
    """Write `README.md` beside the weights."""
    data = ModelCardData(
        library_name="transformers",
        tags=["weakly-supervised-segmentation", "dense_hf", "affinity_net"],
        model_name=run.title,
    )
    body = f"""# {run.title}

Tells which neighbouring cells of 8 x 8 pixels of an image belong to the same thing, so that localisation maps of a
classifier can spread to the edges of objects. Trained with dense_hf on: **{run.training_data}**, on the places where
such maps were certain; nobody has drawn masks for it.

```python
import dense_hf
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

model = AutoModel.from_pretrained("this/repository").eval()
processor = AutoImageProcessor.from_pretrained("this/repository")
affinities = model(**processor(Image.open("image.jpg"), return_tensors="pt")).affinities  # [1, pairs, h, w]
```

`scripts/refine_maps.py` of dense_hf refines a folder of maps with it. It has learned from images of this data set and
is meant for their maps; there are no numbers to judge it by, but those of the masks that are made with it.

{how_it_was_made(run, "images")}
"""
    save_card(output_dir, data, body)
