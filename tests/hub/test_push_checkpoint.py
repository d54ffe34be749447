"""scripts/push_checkpoint.py as a person runs it, against the stand-in for the Hub."""

import json
import os
import runpy
import shutil
import signal
import sys
from pathlib import Path

import pytest
from fresh_processes import REPOSITORY, run_programs, script
from hub_stub import TOKEN, StubRepository
from safetensors.torch import load_file, save_file

SCRIPT = "scripts/push_checkpoint.py"


@pytest.fixture
def push_here(monkeypatch, capsys):
    """Run the script in this process, for all that needs no Hub; returns what it printed or its last words."""

    def push(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["push_checkpoint.py", *map(str, arguments)])
        capsys.readouterr()
        try:
            runpy.run_path(str(REPOSITORY / SCRIPT), run_name="__main__")
        except SystemExit as stop:
            if stop.code not in (None, 0):
                return str(stop.code)
        return capsys.readouterr().out

    return push


@pytest.fixture
def checkpoint(checkpoints, tmp_path):
    """A copy of one, to be changed."""
    return shutil.copytree(checkpoints / "mcis", tmp_path / "mcis")


def test_a_dry_run_lists_what_would_be_uploaded(push_here, checkpoint):
    printed = push_here(checkpoint, "someone/x", "--dry-run")
    names = {line.split()[-1] for line in printed.splitlines() if line[:1] == " "}
    assert {"README.md", "results.json", "config.json", "model.safetensors", "modeling_mcis.py"} <= names
    assert "training_args.bin" not in names
    assert f"{len(names)} files for someone/x; nothing was uploaded" in printed


def test_the_bundled_checkpoints_are_complete(push_here):
    for folder in sorted((REPOSITORY / "checkpoints").iterdir()):
        assert "nothing was uploaded" in push_here(folder, "someone/x", "--dry-run")


def without(name):
    return lambda folder: (folder / name).unlink()


def cut_off(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose_a_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("classifier.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write(name, text):
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


def rename_architecture(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["Foreign"]}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, "no config.json, preprocessor_config.json, README.md"),
        (without("README.md"), "a complete checkpoint with a card. Received: no README.md"),
        (
            without("model.safetensors"),
            "expected weights in model.safetensors or model.safetensors.index.json. Received: neither",
        ),
        (without("preprocessor_config.json"), "Received: no preprocessor_config.json"),
        (cut_off, "model.safetensors: expected complete weights"),
        (lose_a_tensor, "expected the weights of MCISForImageClassification. Received: classifier.weight missing"),
        (write("README.md", "# A model"), "README.md: expected a model card with metadata"),
        (write("README.md", "---\na: [\n---\n"), "README.md: expected a model card"),
        (write("results.json", "{"), "results.json: expected JSON"),
        (write("config.json", "{"), "config.json: expected JSON"),
        (rename_architecture, "the name of a model of dense_hf in `architectures`. Received: Foreign"),
    ],
)
def test_what_is_not_complete_is_refused(spoil, words, push_here, checkpoint):
    spoil(checkpoint)
    message = push_here(checkpoint, "someone/x", "--dry-run")
    assert message.startswith("push_checkpoint.py: ")
    assert words in message


def test_code_of_a_stranger_is_not_run(push_here, checkpoint, tmp_path):
    config = {"model_type": "foreign", "auto_map": {"AutoConfig": "evil.Config"}, "architectures": ["Foreign"]}
    (checkpoint / "config.json").write_text(json.dumps(config))
    (checkpoint / "evil.py").write_text(f"open({str(tmp_path / 'was_here')!r}, 'w')")
    assert push_here(checkpoint, "someone/x", "--dry-run").startswith("push_checkpoint.py: ")
    assert not (tmp_path / "was_here").exists()


@pytest.mark.slow
def test_an_interrupted_upload_can_be_repeated(hub, checkpoints, tmp_path):
    """Killed while the weights are sent and again before the commit; then a lost connection, which heals."""
    name = "someone/mcis"
    program, arguments = script(SCRIPT, checkpoints / "mcis", name)
    program = "open('pid', 'w').write(str(__import__('os').getpid()))\n" + program
    moments = [("PUT", "/large/", "kill"), ("POST", "/commit/", "kill"), ("PUT", "/large/", "hang up")]
    states = []

    def interrupt(method, path):
        if not moments or method != moments[0][0] or moments[0][1] not in path:
            return None
        if moments.pop(0)[2] == "kill":
            states.append((dict(hub.files(name)), len(hub.large_files)))
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        return "hang up"

    hub.before = interrupt
    runs = dict.fromkeys(("first", "second"), (program, arguments))
    done = run_programs(runs, tmp_path, hub.environment(tmp_path / "home"))
    assert [code for code, _ in done.values()] == [-signal.SIGKILL, -signal.SIGKILL]
    assert states == [({}, 0), ({}, 1)]
    assert hub.files(name) == {}, "half an upload is none"

    hub.large_files.clear()  # so that the third has to send the weights, and loses the connection
    again = dict.fromkeys(("third", "fourth"), (program, arguments))
    done = run_programs(again, tmp_path, hub.environment(tmp_path / "home"))
    assert [code for code, _ in done.values()] == [0, 0], done
    assert moments == []
    repository = hub.repositories["model", name]
    assert {"model.safetensors", "modeling_mcis.py", "README.md"} <= repository.files.keys()
    assert all(files in ({}, repository.files) for files in repository.commits)
    # first, second, third without and with success; the fourth finds all there
    assert hub.count("PUT", "/large/") == 4


@pytest.mark.slow
def test_private_is_private_or_an_error(hub, checkpoints, tmp_path):
    hub.repositories["model", "someone/public"] = StubRepository(commits=[{}])
    words = [checkpoints / "mcis", "someone/secret", "--private", "--message", "The first"]
    programs = {
        "private": script(SCRIPT, *words),
        "public": script(SCRIPT, checkpoints / "mcis", "someone/public", "--private"),
        "refused": script(SCRIPT, checkpoints / "mcis", "someone/refused"),
    }
    hub.before = lambda method, path: 403 if "refused/commit" in path else None
    done = run_programs(programs, tmp_path, hub.environment(tmp_path / "home"))
    code, text = done["private"]
    assert code == 0, text
    assert hub.repositories["model", "someone/secret"].private
    assert hub.repositories["model", "someone/secret"].messages[-1] == "The first"
    assert "/someone/secret/commit/" in text
    code, text = done["public"]
    assert code == 1
    assert "this one is public. Received: someone/public" in text
    assert hub.files("someone/public") == {}
    code, text = done["refused"]
    assert code == 1
    assert "push_checkpoint.py: 403" in text
    assert "Traceback" not in text

    stranger = hub.environment(tmp_path / "home") | {"HF_TOKEN": TOKEN.replace("a", "b")}
    done = run_programs({"stranger": programs["private"]}, tmp_path, stranger)
    assert done["stranger"][0] == 1
    assert "401" in done["stranger"][1]


def test_help_teaches(push_here):
    text = push_here("--help")
    for word in ("hf auth login", "--dry-run", "--private", "run the command again", "trust_remote_code"):
        assert word in text
    assert Path(SCRIPT).name in text
