"""The program `dense-hf serve`: a socket, bodies that come slowly, signals, and what keeps it from starting."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path

import programs
import pytest

from dense_hf.cli import main

pytest.importorskip("fastapi")
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import service as load_test

pytestmark = pytest.mark.slow


@pytest.fixture
def serving(script_environment):
    """`serving(model, *options)`: address and process, as the load test has them."""
    return lambda *words: load_test.serving(*words, start=programs.Program, env=script_environment)


def test_good_and_hostile_clients_at_once(serving, counter_checkpoint, pictures):
    """Hostile ones get 4xx or nothing, the others their answers."""
    good = load_test.form("/image", image=pictures[0])
    ended = load_test.Counter()
    with serving(counter_checkpoint, "--timeout", "4", "--max-upload", "1", "--queue", "100") as (address, _):
        other = threading.Thread(target=load_test.harass, args=(address, good, 1, ended))
        other.start()
        seen = load_test.load(address, good, clients=4, requests=12)
        other.join()
        assert seen.statuses == {200: 12}
        assert {int(status) // 100 for status in ended if status != "cut"} == {4}
        assert ended["408"] == 1
        assert sum(ended.values()) == 1 + len(load_test.hostile_requests(good))
        assert load_test.ask(address, load_test.Request("/health", b""))[0] == 200
        status, text = load_test.ask(address, load_test.Request("/metrics", b""))
        assert status == 200
        assert b'dense_hf_requests_total{path="/image",status="200"} 12.0' in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_lets_an_answer_be_finished(number, code, serving, segmenter_checkpoint, street):
    """The signal comes when the request is being computed, which /metrics tells."""
    request_ = load_test.form("/video", video=street)
    found = []
    with serving(segmenter_checkpoint) as (address, process):
        alone = load_test.ask(address, request_)
        sent = threading.Thread(target=lambda: found.append(load_test.ask(address, request_)))
        sent.start()
        numbers = load_test.Request("/metrics", b"")
        while sent.is_alive() and b"dense_hf_computing 1.0" not in load_test.ask(address, numbers)[1]:
            pass
        process.send_signal(number)
        sent.join()
        assert process.wait(60) == code
    assert found == [alone]
    assert len(json.loads(alone[1])) == 4


_STOPPED_WHILE_LOADING = """
import os, signal, sys, threading
from dense_hf.service import ServedModel, serve

class Late(ServedModel):
    stopped = threading.Event()

    def load(self):
        os.kill(os.getpid(), signal.SIGTERM)
        assert self.stopped.wait(60)
        super().load()
        print("loaded", self.status, flush=True)

    def stop(self):
        super().stop()
        self.stopped.set()

def ended(*_):
    raise SystemExit(143)

signal.signal(signal.SIGTERM, ended)
serve(Late(sys.argv[1]), "127.0.0.1", 0, lambda text: print(text, flush=True))
"""


def test_a_signal_while_the_model_is_loaded(counter_checkpoint, script_environment):
    """The process ended below the thread that loaded: with code 139, a crash, once in a container."""
    command = [sys.executable, "-c", _STOPPED_WHILE_LOADING, counter_checkpoint]
    result = subprocess.run(command, env=script_environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 143, result.stderr
    assert result.stdout.splitlines()[1:] == ["loaded stopping"]


def test_broken_and_missing_libraries(counter_checkpoint, monkeypatch, capsys):
    """A broken one was told as "None is missing"."""
    with monkeypatch.context() as changed:
        changed.setitem(sys.modules, "dense_hf.service", None)
        assert main(["serve", counter_checkpoint]) == 2
    assert "dense_hf.service is missing" in capsys.readouterr().err
    broken = types.ModuleType("dense_hf.service")
    broken.__getattr__ = lambda name: (_ for _ in ()).throw(ImportError("operator torchvision::nms does not exist"))
    monkeypatch.setitem(sys.modules, "dense_hf.service", broken)
    assert main(["serve", counter_checkpoint]) == 2
    told = capsys.readouterr().err
    assert "torchvision::nms" in told
    assert "None" not in told


def test_what_keeps_it_from_starting(serving, counter_checkpoint, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", counter_checkpoint, "--port", port, "--device", "cpu"]) == 2
        assert "Address already in use" in capsys.readouterr().err
    for words, told in (
        ([str(tmp_path)], "cannot be loaded"),
        ([counter_checkpoint, "--port", "70000"], "--port"),
        ([counter_checkpoint, "--queue", "-1"], "queue must be positive"),
        ([counter_checkpoint, "--timeout", "nan"], "seconds must be positive"),
        ([counter_checkpoint, "--max-frames", "5"], "--max-frames is for models that segment"),
        ([counter_checkpoint, "--device", "nowhere"], "--device"),
        ([counter_checkpoint, "--host", "256.0.0.1"], "--host"),
    ):
        assert main(["serve", *words]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert "Traceback" not in error
    # found out when it listens already
    shutil.copytree(counter_checkpoint, tmp_path / "damaged")
    (weights,) = (tmp_path / "damaged").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(RuntimeError, match=r"dense-hf: .*safetensors"), serving(str(tmp_path / "damaged")):
        pass
