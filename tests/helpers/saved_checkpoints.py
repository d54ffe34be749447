"""Small checkpoints on disk, by the names of `CHECKPOINTS` or of a counter of Table 2.3."""

from pathlib import Path

from tiny_checkpoints import CHECKPOINTS
from tiny_counters import tiny_counter

from dense_hf.methods import method_of


def saved(folder: Path, name: str) -> Path:
    """A small checkpoint of a model."""
    if name in CHECKPOINTS:
        make, processor, _ = CHECKPOINTS[name]
        model = make()
    else:
        model = tiny_counter(name)
        processor = method_of(name).processor_class(**(model.config.processor_settings or {}))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
