"""The card of a trained AffinityNet: what was run, on which data."""

from pathlib import Path

from .model_card import RunDescription, code_with_model, write_card

_ABOUT = """\
Tells which neighbouring cells of 8 x 8 pixels of an image belong to the same thing, so that localisation maps of a
classifier can spread to the edges of objects. Trained with dense_hf on: **{dataset}**, on the places where
such maps were certain; nobody has drawn masks for it."""
_LIMITS = """\
`scripts/refine_maps.py` of dense_hf refines a folder of maps with it. It has learned from images of this data set and
is meant for their maps; there are no numbers to judge it by, but those of the masks that are made with it."""
_CODE = """
affinities = model(**processor(Image.open("image.jpg"), return_tensors="pt")).affinities  # [1, pairs, h, w]
"""


def write_affinity_card(output_dir: Path, run: RunDescription) -> None:
    """Write the card, see `write_card`."""
    about = _ABOUT.format(dataset=run.training_data)
    parts = [about, code_with_model("AutoModel", _CODE), _LIMITS]
    write_card(output_dir, run, parts, ["weakly-supervised-segmentation", "affinity_net"])
