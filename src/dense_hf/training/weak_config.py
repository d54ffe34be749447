"""One YAML file for all steps from image-level labels to masks (thesis, chapter 3); each script reads its own part.

    classifier:          # scripts/train_mcis.py: sections of its own, as in `run_config.py`
      model: {hidden_size: 512}
      data: {}
      training: {num_train_epochs: 15}
    localization:        # scripts/localize_mcis.py: keys
      num_references: 3
    refinement:          # scripts/train_affinity.py, scripts/refine_maps.py; without this part, no such steps
      training: {}
    pseudo_labels:       # scripts/make_pseudo_labels.py: keys
      background_score: 0.2
    segmenter:           # scripts/train_deeplab.py: sections
      training: {max_steps: 16000}
    evaluation:          # scripts/evaluate_segmentation.py: keys
      crf: true

A part may be missing: all defaults are those of the released code.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .run_config import check_keys, read_sections, read_yaml

PARTS = ("classifier", "localization", "refinement", "pseudo_labels", "segmenter", "evaluation")


def read_part_sections(
    path: str | Path, part: str, known_keys: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, Any]]:
    """A part that has sections.

    Args:
        path: the file.
        part: one of `PARTS`.
        known_keys: section name to the keys that it may have.

    Returns:
        Every section of `known_keys`, empty where the file has none.

    Raises:
        InvalidDataError: no YAML, unknown parts, sections or keys.
    """
    return read_sections(path, _part(path, part), known_keys)


def read_part_keys(path: str | Path, part: str, known_keys: Iterable[str]) -> dict[str, Any]:
    """A part that has keys only; arguments and errors as for [`read_part_sections`]."""
    content = _part(path, part)
    check_keys(path, f"keys in {part}", content, known_keys)
    return content


def _part(path: str | Path, part: str) -> Any:
    content = read_yaml(path)
    check_keys(path, "parts", content, PARTS)
    return {} if content.get(part) is None else content[part]
