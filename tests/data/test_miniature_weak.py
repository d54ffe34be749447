"""The synthetic set of chapter 3: reproducible, in the layout, and labels that say what the masks show."""

import hashlib
import os
from importlib import import_module

import numpy as np
import pytest

from dense_hf.data import generate_miniature_weak, open_image
from dense_hf.data.miniature_weak import WEAK_CLASSES, draw_weak_scene
from dense_hf.data.weak_source import mask_rule, read_weak_mask, read_weak_split

SMALL = {"image_size": (60, 48), "disable_progress": True}


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_layout_and_labels_that_fit_the_masks(tmp_path):
    generate_miniature_weak(tmp_path / "set", 16, 3, 0, **SMALL)
    assert sorted(os.listdir(tmp_path / "set")) == ["classes.txt", "train", "val"]
    seen = set()
    for split, size in (("train", 16), ("val", 3)):
        folder = read_weak_split(tmp_path / "set", split, with_masks=True)
        assert (folder.class_names, len(folder)) == (WEAK_CLASSES, size)
        for image in folder.images:
            mask = read_weak_mask(image, mask_rule(WEAK_CLASSES))
            assert mask.shape == (48, 60)
            assert open_image(image.path).size == (60, 48)
            assert set(np.unique(mask)) - {0, 255} == {label + 1 for label in image.labels}
            assert image.name.startswith("synthetic_")
            seen.add(image.labels)
    assert {len(labels) for labels in seen} == {0, 1, 2}
    assert {label for labels in seen for label in labels} == {0, 1, 2}


def test_the_same_seed_gives_the_same_bytes_and_a_larger_set_begins_with_the_smaller(tmp_path):
    generate_miniature_weak(tmp_path / "a", 3, 1, 1, **SMALL)
    generate_miniature_weak(tmp_path / "b", 5, 2, 1, **SMALL)
    generate_miniature_weak(tmp_path / "c", 3, 1, 1, seed=1, **SMALL)
    small, large, other = (contents(tmp_path / name) for name in "abc")
    pictures = {name for name in small if name.endswith((".jpg", ".png"))}
    assert len(pictures) == 10
    assert all(large[name] == small[name] != other[name] for name in pictures)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_but_the_shapes_differs_from_the_bare_scene(seed):
    """Each shape lies whole in the image: its part of the mask touches no border."""
    pixels, mask = draw_weak_scene(np.random.default_rng(seed), (60, 48), [0, 2])
    bare, empty = draw_weak_scene(np.random.default_rng(seed), (60, 48), [])
    assert not empty.any()
    changed = (pixels != bare).any(axis=2)
    assert changed[mask != 0].mean() > 0.7  # the outline is marked on both of its sides
    assert not changed[mask == 0].any()
    assert not np.isin(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]), [1, 3]).any()


@pytest.mark.parametrize(
    "options", [{"num_train": -1}, {"num_train": 0, "num_validation": 0, "num_test": 0}, {"image_size": (31, 64)}]
)
def test_bad_arguments_are_refused_and_nothing_is_left(tmp_path, options):
    with pytest.raises(ValueError, match="Received"):
        generate_miniature_weak(tmp_path / "set", **options)
    assert not list(tmp_path.iterdir())


def test_the_script_draws_the_same_set(tmp_path, capsys):
    words = ["--train", "2", "--val", "1", "--test", "0", "--size", "60", "48", "--seed", "3"]
    assert import_module("make_miniature_weak").main([str(tmp_path / "a"), *words]) == 0
    generate_miniature_weak(tmp_path / "b", 2, 1, 0, seed=3, **SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert "synthetic" in capsys.readouterr().out
