"""`dense-hf convert` and the program around it."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from dense_hf.cli import COMMANDS, main
from dense_hf.cli.convert import parse_settings
from dense_hf.cli.errors import CommandError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "iocformer"


def test_settings_are_read_as_json_or_text():
    assert parse_settings(["a=1", "b=0.5", "c=true", "d=text", "e=[1, 2]", "f=a=b"]) == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": "text",
        "e": [1, 2],
        "f": "a=b",
    }
    for bad in ("a", "=1", "a b=1"):
        with pytest.raises(CommandError, match="KEY=VALUE"):
            parse_settings([bad])


def test_unusable_files_end_with_a_message(tmp_path, capsys):
    torch.save({"state_dict": {"weight": torch.ones(3)}}, tmp_path / "other.pth")
    for path, architecture, message in (
        ("gone.pth", "iocformer", "no such file"),
        ("other.pth", "iocformer", "other.pth"),
        ("other.pth", "toaster", "Received: 'toaster'"),
    ):
        assert main(["convert", str(tmp_path / path), architecture, str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
        assert sorted(p.name for p in tmp_path.iterdir()) == ["other.pth"]


def test_a_folder_with_files_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious.txt").touch()
    assert main(["convert", str(tmp_path / "a.pth"), "iocformer", str(tmp_path / "out")]) == 2
    assert "empty folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert ("examples:" in text and f"dense-hf {command[0]} " in text) if command else all(c in text for c in COMMANDS)


@pytest.mark.slow
def test_a_released_checkpoint_becomes_a_folder_that_counts(tmp_path, capsys):
    """Of real size, as the authors' script writes it; the weights are zeros, only names and shapes matter here."""
    shapes = json.loads((FIXTURES / "cltr_state_dict.json").read_text())["state_dict"]
    weights = {f"module.{name}": torch.zeros(shape) for name, (shape, _) in shapes.items()}
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "model_best.pth")
    folder = tmp_path / "checkpoints" / "cltr"
    arguments = ["convert", str(tmp_path / "model_best.pth"), "cltr", str(folder), "--set", "tile_size=128"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "43,497,671 parameters" in told
    assert "density_branch = false" in told
    assert "tile_size = 128" in told
    Image.new("RGB", (100, 90)).save(tmp_path / "a.png")
    assert main(["count", str(tmp_path / "a.png"), "--model", str(folder), "--output", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out/counts.json").read_text())["tile_size"] == 128
