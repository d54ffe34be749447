"""A sample is a function of (seed, epoch, index); a batch is padded; bad data is named before the first step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor
from dense_hf.data import write_points
from dense_hf.data.counting_examples import read_examples
from dense_hf.data.formats import read_annotations, write_annotations
from dense_hf.errors import InvalidDataError
from dense_hf.training.counting.augmentation import CountingAugmentation
from dense_hf.training.counting.dataset import CountingTrainingSet, collate_crops
from dense_hf.training.counting.options import parse_counting_run
from dense_hf.training.counting.run import read_data
from dense_hf.training.epoch_sampler import EpochSampler

EVERYTHING = CountingAugmentation(vertical_flip=0.5, rotation=0.5, scale=0.5, grayscale=0.5)


def make_folder(folder, sizes, points=((20.0, 30.0), (5.0, 6.0))):
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    names = [f"image{number}" for number in range(len(sizes))]
    rng = np.random.default_rng(0)
    for name, (width, height) in zip(names, sizes):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        write_points(folder / "annotations" / f"{name}.xml", np.array(points), f"{name}.png", (width, height))
    (folder / "train_id.txt").write_text("".join(f"{name}.png\n" for name in names), encoding="utf-8")
    return folder


def training_set(folder, tile_size=64, num_queries=60, augmentation=EVERYTHING, seed=1, **options):
    examples = read_examples(folder, ["train"], progress=False)["train"]
    processor = IOCFormerImageProcessor(tile_size=tile_size)
    return CountingTrainingSet(examples, processor, num_queries, augmentation, seed, **options)


def same(first, second):
    return all(torch.equal(first[key], second[key]) for key in ("pixel_values", "labels"))


def test_sample_depends_on_seed_epoch_and_index_only(tiny_set):
    keys = [(epoch, index) for epoch in (0, 3) for index in range(9)]  # 6 images: the last ones go past the end
    first, second = training_set(tiny_set), training_set(tiny_set, image_cache_size=2)
    in_order = {key: first[key] for key in keys}
    torch.rand(5), np.random.rand(5)
    backwards = {key: second[key] for key in reversed(keys)}
    assert all(same(in_order[key], backwards[key]) for key in keys)
    assert not same(in_order[0, 1], in_order[3, 1])
    assert not same(in_order[0, 0], training_set(tiny_set, seed=2)[0, 0])


def test_worker_processes_give_the_same_samples(tiny_set):
    data, sampler = training_set(tiny_set, samples_per_image=2, image_cache_size=3), EpochSampler(12, 1, 8)
    sampler.start_epoch(2)
    loader = DataLoader(data, batch_size=4, sampler=sampler, collate_fn=collate_crops, num_workers=2)
    batches = list(loader)
    assert len(batches) == 4
    keys = iter(sampler)
    for batch in batches:
        assert same(batch, collate_crops([data[next(keys)] for _ in range(4)]))


def test_order_changes_with_seed_and_epoch_and_holds_every_sample():
    def order(seed, epoch):
        sampler = EpochSampler(20, seed, 6)
        sampler.start_epoch(epoch)
        return [index for _, index in sampler]

    assert sorted(order(0, 0)) == list(range(24))
    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_crop_has_the_values_that_inference_sees(tiny_set):
    nothing = CountingAugmentation(horizontal_flip=0, scale=0, grayscale=0)
    data = training_set(tiny_set, augmentation=nothing)
    tile = data[0, 0]["pixel_values"]
    whole = np.asarray(data.examples[0].open()).astype(np.float32) / 255
    whole = (whole - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    windows = np.lib.stride_tricks.sliding_window_view(whole, (64, 64), axis=(0, 1))
    distances = np.abs(windows - tile.numpy()).max(axis=(2, 3, 4))
    assert distances.min() < 1e-5


def test_collator_pads_with_minus_100_to_at_least_one_row():
    def sample(n):
        return {"pixel_values": torch.zeros(3, 8, 8), "labels": torch.full((n, 3), 0.5)}

    empty = collate_crops([sample(0), sample(0)])
    assert empty["labels"].tolist() == [[[-100.0] * 3]] * 2
    mixed = collate_crops([sample(0), sample(3), sample(1)])
    assert mixed["pixel_values"].shape == (3, 3, 8, 8)
    assert mixed["labels"].dtype == torch.float32
    assert (mixed["labels"] == 0.5).all(dim=-1).sum(dim=1).tolist() == [0, 3, 1]
    assert (mixed["labels"] == -100).all(dim=-1).sum(dim=1).tolist() == [3, 0, 2]


def test_images_smaller_than_a_tile_are_replaced_by_others(tmp_path):
    data = training_set(make_folder(tmp_path, [(40, 200), (100, 80), (200, 63), (64, 64)]))
    assert data.large_enough == [1, 3]
    for index in range(8):
        assert data[0, index]["pixel_values"].shape == (3, 64, 64)


def test_no_image_large_enough_is_an_error_before_training(tmp_path):
    with pytest.raises(ValueError, match="tile_size"):
        training_set(make_folder(tmp_path, [(40, 200), (63, 63)]))


def test_too_dense_images_are_named(tmp_path):
    dense = [(float(x), float(y)) for x in range(64) for y in range(64)]
    data = training_set(make_folder(tmp_path, [(64, 64)], dense), num_queries=50)
    with pytest.raises(InvalidDataError, match=r"image0\.png.*num_queries=50"):
        data[0, 0]


def test_missing_and_broken_files_are_named(tmp_path):
    folder = make_folder(tmp_path / "a", [(64, 64), (64, 64)])
    with pytest.raises(InvalidDataError, match=r"val_id\.txt"):
        read_examples(folder, ["train", "validation"], progress=False)
    (folder / "annotations" / "image1.xml").write_text("<annotation><object><point><x>1</x></point></object>")
    with pytest.raises(InvalidDataError, match=r"image1\.xml"):
        read_examples(folder, ["train"], progress=False)
    (folder / "images" / "image0.png").unlink()
    with pytest.raises(InvalidDataError, match=r"image0\.png"):
        read_examples(folder, ["train"], progress=False)


@pytest.mark.parametrize("options", [{"samples_per_image": 0}, {"image_cache_size": -1}])
def test_impossible_options_are_errors(tiny_set, options):
    with pytest.raises(ValueError, match="Received"):
        training_set(tiny_set, **options)


def test_a_training_takes_annotations_of_any_tool(tiny_set, tmp_path):
    """The examples are those of the folder; what is missing is said with the option that helps."""
    records = [replace(record, split=None) for record in read_annotations(tiny_set)]
    write_annotations(records, tmp_path / "export.json", "label_studio")

    def data(*words):
        common = ["--output_dir", str(tmp_path / "out"), "--data_dir", str(tmp_path / "export.json"), "--disable_tqdm"]
        return read_data(parse_counting_run("iocformer", arguments=[*common, "True", *map(str, words)]))

    images = ("--images_dir", tiny_set / "images")
    found = data(*images, "--validation", "0.25", "--split_seed", "4")
    assert {split: len(items) for split, items in found.items()} == {"train": 9, "validation": 3}
    splits = read_examples(tiny_set, ["train", "validation", "test"], progress=False).values()
    whole = {item.path.name: item for items in splits for item in items}
    for item in [item for items in found.values() for item in items]:
        assert item.size == whole[item.path.name].size
        assert np.allclose(item.points, whole[item.path.name].points, rtol=0, atol=1e-4)
    with pytest.raises(InvalidDataError, match=r"--validation 0\.2 takes a share"):
        data(*images)
    assert list(data(*images, "--eval_strategy", "no")) == ["train"]
    with pytest.raises(ValueError, match="validation and validation_data exclude each other"):
        data(*images, "--validation", "0.25", "--validation_data", tmp_path / "export.json")
