"""From a folder of videos to Parquet that `load_dataset` reads, through the scripts that people run."""

import os
from importlib import import_module

import datasets
import numpy as np
import pytest
from PIL import Image

from dense_hf.data import VSPW, generate_miniature_videos
from dense_hf.data.miniature_videos import MINIATURE_CLASSES


@pytest.fixture
def folder(tmp_path):
    generate_miniature_videos(tmp_path / "set", 2, 1, 0, num_frames=4, frame_size=(40, 32), disable_progress=True)
    return tmp_path / "set"


@pytest.mark.parametrize("name", ["vspw", "make_miniature_videos"])
def test_help_teaches_by_examples(name, capsys):
    with pytest.raises(SystemExit) as exit_status:
        import_module(name).main(["--help"])
    assert exit_status.value.code == 0
    assert f"    python dataset_scripts/{name}.py " in capsys.readouterr().out


def test_statistics_and_parquet(folder, tmp_path, capsys):
    output = tmp_path / "parquet"
    assert import_module("vspw").main([str(folder), "--own_data", "--parquet", str(output), "--num_proc", "2"]) == 0
    printed = capsys.readouterr().out
    data = datasets.load_dataset(str(output), cache_dir=str(tmp_path / "cache"))
    builder = VSPW(data_dir=folder, cache_dir=str(tmp_path / "cache2"))
    builder.download_and_prepare()
    for split, expected in builder.as_dataset().items():
        assert data[split].features == expected.features
        for ours, theirs in zip(data[split], expected, strict=True):
            for column in ("image", "mask"):
                assert np.array_equal(ours.pop(column), theirs.pop(column))
            assert ours == theirs
    stream = datasets.load_dataset(str(output), split="validation", streaming=True, cache_dir=str(tmp_path / "cache"))
    assert [row["frame_index"] for row in stream] == [0, 1, 2, 3]
    share = np.mean([np.asarray(row["mask"]) == 255 for row in data["train"]])
    card = (output / "README.md").read_text()
    for text in (printed, card):
        assert f"| train | 2 | 8 | 8 | 4 | 4 | 40 x 32 | {100 * share:.2f} % |" in text
        assert all(f"| {label} | {name} |" in text for label, name in enumerate(MINIATURE_CLASSES))
    assert sorted(os.listdir(output)) == ["README.md", "data"]
    assert not any(str(folder).encode() in path.read_bytes() for path in (output / "data").iterdir())


def test_a_download_that_is_not_complete_is_named_file_by_file(folder, tmp_path, capsys):
    video = folder / "data" / "synthetic_train_0001"
    (video / "origin" / "00000001.jpg").unlink()
    (video / "origin" / "00000002.jpg").write_bytes(b"")
    output = tmp_path / "parquet"
    assert import_module("vspw").main([str(folder), "--parquet", str(output)]) == 1
    error = capsys.readouterr().err
    assert "6 missing or empty:" in error
    assert f"missing: {video / 'origin' / '00000001.jpg'}" in error
    assert f"empty: {video / 'origin' / '00000002.jpg'}" in error
    assert "train.txt has 2 videos instead of 2,806" in error
    assert not output.exists()
    assert import_module("vspw").main([str(folder), "--own_data", "--skip_incomplete", "--parquet", str(output)]) == 0
    assert "2 missing or empty:" in capsys.readouterr().err
    assert len(datasets.load_dataset(str(output), split="train", cache_dir=str(tmp_path / "cache"))) == 6


def test_broken_files_stop_it_in_any_case(folder, tmp_path, capsys):
    frame = folder / "data" / "synthetic_train_0000" / "origin" / "00000001.jpg"
    frame.write_bytes(frame.read_bytes()[:-300])
    assert (
        import_module("vspw").main(
            [str(folder), "--own_data", "--skip_incomplete", "--parquet", str(tmp_path / "out")]
        )
        == 1
    )
    assert "1 broken:" in (error := capsys.readouterr().err)
    assert f"{frame}: expected a complete" in error
    assert not (tmp_path / "out").exists()


def test_wrong_use_is_explained(folder, tmp_path, capsys):
    for arguments in (["--push_to_hub", "me/set"], ["--num_proc", "0"]):
        with pytest.raises(SystemExit):
            import_module("vspw").main([str(folder), "--own_data", *arguments])
        assert "error:" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    assert import_module("vspw").main([str(folder), "--own_data", "--parquet", str(tmp_path / "full")]) == 1
    assert import_module("vspw").main([str(tmp_path / "nowhere")]) == 1
    assert import_module("vspw").main([str(folder), "--class_file", str(tmp_path / "nowhere.json")]) == 1


def test_the_miniature_script(tmp_path):
    size = ["--frames", "2", "--size", "40", "32", "--train", "1", "--validation", "0", "--test", "0"]
    assert import_module("make_miniature_videos").main([str(tmp_path / "new"), *size]) == 0
    assert sorted(os.listdir(tmp_path / "new")) == ["data", "label_num_dic_final.json", "train.txt"]
    with pytest.raises(SystemExit):
        import_module("make_miniature_videos").main([str(tmp_path / "new"), *size])


def test_masks_of_0_and_255_are_not_published(folder, tmp_path, capsys):
    for path in folder.glob("data/*/mask/*.png"):
        labels = np.asarray(Image.open(path))
        Image.fromarray(np.where(labels > 1, 255, 0).astype(np.uint8)).save(path)
    (folder / "label_num_dic_final.json").write_text('{"around": 0, "object": 1}')
    words = [str(folder), "--own_data", "--zero_is_a_class", "--parquet", str(tmp_path / "out")]
    assert import_module("vspw").main(words) == 1
    assert "0 and 255 only: around" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
