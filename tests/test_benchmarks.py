"""The programs that a person runs to see whether a GPU computes what a CPU does, and where time goes."""

import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import gpu_check
import profile_task
import throughput


def test_every_column_of_the_check(tmp_path, capsys):
    assert gpu_check.main(["--device", "cpu", "--methods", "mcnn", "segformer", "--output", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "gpu_check.json").read_text())
    assert written["width"] == "small"
    assert written["torch"] == torch.__version__
    assert [one["name"] for one in written["models"]] == ["mcnn", "segformer"]
    for one in written["models"]:
        assert one["float32"] == 0
        assert 0 < one["bfloat16"] < 0.1
        assert one["resume"] == "same bits"
        assert one["per_second"] > 0
        assert not one["failed"]
    table = (tmp_path / "gpu_check.md").read_text()
    assert "| MCNN |" in table
    assert "| SegFormer |" in table
    assert table.strip() == capsys.readouterr().out.strip()


class Restless(torch.nn.Module):
    """Its weights reach the state, what it adds to them does not; a NaN where `is_broken`."""

    def __init__(self, is_broken: bool):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.calls, self.is_broken = 0, is_broken
        self.config = torch.nn.Module()

    def forward(self, pixel_values, labels=None):
        self.calls += 1
        value = self.weight * pixel_values.mean() + self.calls
        value = value * float("nan") if self.is_broken and self.calls > 1 else value
        return Output(loss=value.pow(3).sum(), density_map=value)


class Output(dict):
    __getattr__ = dict.__getitem__


@pytest.mark.parametrize("is_broken", [False, True])
def test_what_differs_fails(tmp_path, monkeypatch, is_broken):
    monkeypatch.setattr(gpu_check, "make_model", lambda row, is_small: Restless(is_broken))
    assert gpu_check.main(["--device", "cpu", "--methods", "mcnn", "--output", str(tmp_path)]) == 1
    (one,) = json.loads((tmp_path / "gpu_check.json").read_text())["models"]
    assert "float32" in one["failed"] or one["failed"] == ["error"]
    assert is_broken or one["resume"].startswith("DIFFERENT")


def test_a_model_that_raises_is_named_and_the_others_run(tmp_path, monkeypatch):
    make = gpu_check.make_model

    def fail_for_mcnn(row, is_small):
        if row.name == "mcnn":
            raise RuntimeError("no such kernel")
        return make(row, is_small)

    monkeypatch.setattr(gpu_check, "make_model", fail_for_mcnn)
    arguments = ["--device", "cpu", "--methods", "mcnn", "segformer", "--output", str(tmp_path)]
    assert gpu_check.main(arguments) == 1
    first, second = json.loads((tmp_path / "gpu_check.json").read_text())["models"]
    assert first["error"] == "RuntimeError: no such kernel"
    assert not second["failed"]


def test_time_of_an_item_is_without_loading_and_a_model_in_a_model_counts_once(monkeypatch):
    """10 s of loading, then for each item 2 s of reading and 3 s in the model, 1 of them in a part that is watched."""
    clock = [0.0]
    monkeypatch.setattr(throughput.Stopwatch, "now", lambda watch: clock[0])

    class Model:
        def part(self):
            clock[0] += 1

        def whole(self):
            clock[0] += 2
            self.part()

    watch = throughput.Stopwatch("cpu")
    watch.watch(Model, "part")
    watch.watch(Model, "whole")

    def run(number):
        clock[0] += 10
        for _ in range(number):
            clock[0] += 2
            Model().whole()

    assert throughput.measure(run, {1: 1, 5: 5}, watch) == (5, 3)


@pytest.mark.slow
def test_throughput_of_a_command_and_of_a_peer(capsys, monkeypatch):
    """By a clock that goes on when it is read: each picture reads it before and after its forward pass."""
    monkeypatch.setattr(throughput, "time", SimpleNamespace(process_time=itertools.count().__next__))
    few = ["--pictures", "2", "--rounds", "1", "--size", "64", "64", "--only", "dmcount", "lwcc"]
    throughput.main(few)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    found = {name.strip(): [float(cell) for cell in cells] for name, *cells in rows if name.strip() in few}
    assert found == {key: [0.5, 2, 1, 50] for key in ("dmcount", "lwcc")}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "function"), [("count", "count_objects"), ("localize", "extract_features")])
def test_a_profile_names_functions_and_operations(capsys, task, function):
    profile_task.main([task, "--rows", "60"])
    functions, operations = capsys.readouterr().out.split("\n| operation ")
    assert f":{function} |" in functions
    assert "| aten::mkldnn_convolution |" in operations
