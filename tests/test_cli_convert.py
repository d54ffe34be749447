"""`dense-hf convert` and the program around it."""

import pytest
import torch

from dense_hf.cli import COMMANDS, main
from dense_hf.cli.convert import parse_settings
from dense_hf.cli.errors import CommandError


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
