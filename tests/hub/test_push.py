"""`dense-hf push` as a person runs it, against the stand-in for the Hub."""

import json
import os
import shutil
import signal
from functools import partial

import pytest
from fresh_processes import REPOSITORY, dense_hf, run_programs
from hub_stub import TOKEN, StubRepository
from killed_runs import fill_disk, run
from safetensors.torch import load_file, save_file

from dense_hf.cli import main


@pytest.fixture
def push_here(capsys):
    """Run the command in this process, for all that needs no Hub; returns what it printed or its last words."""

    def push(*arguments: object) -> str:
        capsys.readouterr()
        code = main(["push", *map(str, arguments)])
        printed = capsys.readouterr()
        assert code == (2 if printed.err else 0)
        return printed.err or printed.out

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
    assert f"{len(names)} files for someone/x, " in printed


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
    assert message.startswith("dense-hf: ")
    assert words in message


def test_code_of_a_stranger_is_not_run(push_here, checkpoint, tmp_path):
    config = {"model_type": "foreign", "auto_map": {"AutoConfig": "evil.Config"}, "architectures": ["Foreign"]}
    (checkpoint / "config.json").write_text(json.dumps(config))
    (checkpoint / "evil.py").write_text(f"open({str(tmp_path / 'was_here')!r}, 'w')")
    assert push_here(checkpoint, "someone/x", "--dry-run").startswith("dense-hf: ")
    assert not (tmp_path / "was_here").exists()


@pytest.mark.slow
def test_an_interrupted_upload_can_be_repeated(hub, checkpoints, tmp_path):
    """Killed while the weights are sent and again before the commit; then a lost connection, which heals."""
    name = "someone/mcis"
    program, arguments = dense_hf("push", checkpoints / "mcis", name)
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
    done = run_programs(runs, tmp_path, hub.environment())
    assert [code for code, _ in done.values()] == [-signal.SIGKILL, -signal.SIGKILL]
    assert states == [({}, 0), ({}, 1)]
    assert hub.files(name) == {}, "half an upload is none"

    hub.large_files.clear()  # so that the third has to send the weights, and loses the connection
    again = dict.fromkeys(("third", "fourth"), (program, arguments))
    done = run_programs(again, tmp_path, hub.environment())
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
        "private": dense_hf("push", *words),
        "public": dense_hf("push", checkpoints / "mcis", "someone/public", "--private"),
        "refused": dense_hf("push", checkpoints / "mcis", "someone/refused"),
    }
    hub.before = lambda method, path: 403 if "refused/commit" in path else None
    done = run_programs(programs, tmp_path, hub.environment())
    code, text = done["private"]
    assert code == 0, text
    assert hub.repositories["model", "someone/secret"].private
    assert hub.repositories["model", "someone/secret"].messages[-1] == "The first"
    assert "/someone/secret/commit/" in text
    code, text = done["public"]
    assert code == 2
    assert "this one is public. Received: someone/public" in text
    assert hub.files("someone/public") == {}
    code, text = done["refused"]
    assert code == 2
    assert "dense-hf: 403" in text
    assert "Traceback" not in text

    stranger = hub.environment() | {"HF_TOKEN": TOKEN.replace("a", "b")}
    done = run_programs({"stranger": programs["private"]}, tmp_path, stranger)
    assert done["stranger"][0] == 2
    assert "401" in done["stranger"][1]


def test_no_connection_is_said_in_a_sentence(push_here, checkpoint, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:1")
    assert push_here(checkpoint, "someone/x").startswith("dense-hf: no connection to http://127.0.0.1:1: ")


@pytest.mark.skipif(signal.getsignal(signal.SIGXFSZ) != signal.SIG_IGN, reason="SIGXFSZ would end the process")
@pytest.mark.parametrize("limit", [100, 10_000])
def test_a_full_disk_ends_a_push_in_one_sentence(checkpoint, tmp_path, monkeypatch, limit):
    """The settings, or the weights, cannot be written to the temporary folder; nothing is sent, nothing is left."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    before = {path: path.read_bytes() for path in checkpoint.iterdir()}
    code, told = run("dense-hf", ["push", str(checkpoint), "someone/x"], partial(fill_disk, limit=limit))
    assert (code, told.count("dense-hf: "), "Traceback" in told) == (2, 1, False), told
    assert "too large" in told or "cannot be written" in told
    assert list((tmp_path / "scratch").iterdir()) == []
    assert {path: path.read_bytes() for path in checkpoint.iterdir()} == before


def test_a_name_that_no_repository_can_have_is_refused_by_a_dry_run(push_here, checkpoint):
    assert "some one/x" in push_here(checkpoint, "some one/x", "--dry-run")


def test_a_dry_run_says_what_the_options_would_do(push_here, checkpoint):
    printed = push_here(checkpoint, "someone/x", "--dry-run", "--private", "--message", "The first")
    assert 'files for private someone/x, "The first"; nothing was uploaded' in printed


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["push", "--help"])
    text = capsys.readouterr().out
    for word in ("hf auth login", "--dry-run", "--private", "run the command again", "trust_remote_code"):
        assert word in text
