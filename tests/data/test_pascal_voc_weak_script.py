"""From images with labels to Parquet that `load_dataset` reads, through the script that people run."""

import os

import datasets
import numpy as np
import pascal_voc_weak
import pytest
from PIL import Image

from dense_hf.data import PascalVOCWeak


def run(*arguments):
    return pascal_voc_weak.main([str(argument) for argument in arguments])


def test_help_teaches_by_examples(capsys):
    with pytest.raises(SystemExit) as exit_status:
        run("--help")
    assert exit_status.value.code == 0
    assert "    python dataset_scripts/pascal_voc_weak.py my_pets --own_data\n" in capsys.readouterr().out


def test_statistics_and_parquet(voc, tmp_path, capsys):
    output = tmp_path / "parquet"
    assert run(voc, "--own_data", "--parquet", output, "--num_proc", "2") == 0
    printed = capsys.readouterr().out
    data = datasets.load_dataset(str(output), cache_dir=str(tmp_path / "cache"))
    builder = PascalVOCWeak(data_dir=voc, cache_dir=str(tmp_path / "cache2"))
    builder.download_and_prepare()
    for split, expected in builder.as_dataset().items():
        assert data[split].features == expected.features
        for ours, theirs in zip(data[split], expected, strict=True):
            for column in ("image", "mask"):
                assert np.array_equal(ours.pop(column), theirs.pop(column))
            assert ours == theirs
    assert set(data["train"]["mask"]) == {None}
    stream = datasets.load_dataset(str(output), split="validation", streaming=True, cache_dir=str(tmp_path / "cache"))
    assert [row["name"] for row in stream] == ["2009_000005", "2009_000006"]
    card = (output / "README.md").read_text()
    for text in (printed, card):
        assert "| train | 4 | 0 | 0 | 1.50 | 0 | 2 | 2 | 0 | 0 |" in text
        assert "| validation | 2 | 2 | 0 | 1.50 | 0 | 1 | 1 | 0 | 0 |" in text
        assert "| 7 | cat | 3 | 1 |" in text
        assert "| 14 | person | 2 | 1 |" in text
        assert "| cat | person | 2 |" in text
        assert "| dog | person |" not in text, "only in validation"
        assert "Classes with a single image to train on: dog." in text
    assert "pretty_name: VOC2012" in card
    assert sorted(os.listdir(output)) == ["README.md", "data"]
    assert not any(str(voc).encode() in path.read_bytes() for path in (output / "data").iterdir())


def test_a_download_that_is_not_the_full_set_is_said_exactly(voc, tmp_path, capsys):
    assert run(voc, "--parquet", tmp_path / "parquet") == 1
    error = capsys.readouterr().err
    assert "2 problems:\ntrain: trainaug.txt has 4 images instead of 10,582\n" in error
    assert "validation: val.txt has 2 images instead of 1,449" in error
    assert not (tmp_path / "parquet").exists()


def test_every_broken_file_is_named(voc, own, tmp_path, capsys):
    for name in ("2007_000002", "2009_000005"):
        path = voc / "JPEGImages" / f"{name}.jpg"
        path.write_bytes(path.read_bytes()[:-200])
    Image.new("L", (24, 18), 3).save(own / "val" / "masks" / "a.png")
    Image.new("L", (20, 18), 1).save(own / "val" / "masks" / "d.png")
    assert run(voc, "--own_data", "--parquet", tmp_path / "parquet") == 1
    error = capsys.readouterr().err
    assert "2 problems:" in error
    assert f"{voc / 'JPEGImages' / '2007_000002.jpg'}: expected a complete" in error
    assert f"{voc / 'JPEGImages' / '2009_000005.jpg'}: expected a complete" in error
    assert run(own, "--own_data", "--parquet", tmp_path / "parquet") == 1
    error = capsys.readouterr().err
    assert f"{own / 'val' / 'masks' / 'a.png'}: expected class numbers 0-2, 255. Received: 3 at x=0, y=0" in error
    assert f"{own / 'val' / 'masks' / 'd.png'}: expected the size of its frame, 24 x 18. Received: 20 x 18" in error
    assert not (tmp_path / "parquet").exists()


def test_what_may_be_meant_is_counted(own, capsys, logged):
    (own / "classes.txt").write_text("cat\npotted plant\nsofa\n")
    (own / "train" / "labels.csv").write_text("image,labels\na,cat\nb,cat;sofa\nc,\n")
    Image.new("L", (24, 18), 0).save(own / "val" / "masks" / "d.png")
    Image.new("L", (24, 18), 3).save(own / "val" / "masks" / "a.png")
    assert run(own, "--own_data") == 0
    captured = capsys.readouterr()
    assert "| train | 3 | 0 | 0 | 1.00 | 1 | 1 | 1 | 0 | 0 |" in captured.out
    assert "Classes with a single image to train on: sofa." in captured.out
    masks = own / "val" / "masks"
    assert captured.err.endswith(
        "\n2 warnings:\n"
        "validation: 1 of 2 images have labels and an empty mask "
        f"(first: {masks / 'd.png'} of an image with labels cat, potted plant)\n"
        "validation: 1 of 2 images have labels other than their mask "
        f"(first: {masks / 'a.png'} of an image with labels potted plant)\n"
    )
    table = own / "train" / "labels.csv"
    assert f"{table}: 1 of 3 images have no class (c)" in logged()
    assert f"{table}: classes with a single image, which will be paired with itself: sofa" in logged()
    assert len(logged()) == len(set(logged())), "said once"


def test_a_wrong_class_is_named_with_its_line(own, capsys):
    (own / "val" / "labels.csv").write_text("image,labels\na,potted plant\nd,cat;dog\n")
    assert run(own, "--own_data") == 1
    table = own / "val" / "labels.csv"
    expected = f"error: {table}: expected one of the classes cat, potted plant. Received: line 3: 'dog'\n"
    assert capsys.readouterr().err == expected


def test_extra_images(voc, own, extra_list, tmp_path, capsys):
    (own / "train" / "labels.csv").write_text("image,labels\nb,dog\nc,cat;dog\n")
    single, web = (*extra_list, 1), (own / "train" / "labels.csv", own / "train" / "images", 2)
    both = ("--extra", *single, "--extra", *web)
    assert run(voc, "--own_data", *both) == 0
    assert "| train | 8 | 0 | 0, 1, 2 | 1.38 | 0 | 5 | 3 | 0 | 0 |" in capsys.readouterr().out
    assert run(voc, "--own_data", *both, "--separate_extra", "--parquet", tmp_path / "parquet") == 0
    assert "| domain_2 | 2 | 0 | 2 | 1.50 | 0 | 1 | 1 | 0 | 0 |" in capsys.readouterr().out
    data = datasets.load_dataset(str(tmp_path / "parquet"), cache_dir=str(tmp_path / "cache"))
    assert {split: part["name"][:] for split, part in data.items() if "_" in split} == {
        "domain_1": ["single_1", "single_2"],
        "domain_2": ["b", "c"],
    }
    assert run(voc, "--own_data", "--extra", *single, "--first_class", 0) == 1
    assert (
        "single.txt: expected a name and class numbers from 0 to 19. Received: line 2: '20'" in capsys.readouterr().err
    )
    assert run(voc, "--own_data", "--extra", *single, "--extra", *single) == 1
    assert "must be unique over all folders" in capsys.readouterr().err


def test_wrong_use_is_explained(voc, extra_list, tmp_path, capsys):
    for arguments in (["--push_to_hub", "me/set"], ["--first_class", "-1"], ["--extra", *extra_list, "one"]):
        with pytest.raises(SystemExit):
            run(voc, "--own_data", *arguments)
        assert "error:" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    assert run(voc, "--own_data", "--parquet", tmp_path / "full") == 1
    assert run(tmp_path / "nowhere") == 1
    assert "nowhere: expected a folder. Received: nothing there" in capsys.readouterr().err
