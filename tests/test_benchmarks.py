"""The programs that a person runs to see whether a GPU computes what a CPU does, and where time goes."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import gpu_check
import profile_task


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


@pytest.mark.slow
@pytest.mark.parametrize(("task", "function"), [("count", "count_objects"), ("localize", "extract_features")])
def test_a_profile_names_functions_and_operations(capsys, task, function):
    profile_task.main([task, "--rows", "60"])
    functions, operations = capsys.readouterr().out.split("\n| operation ")
    assert f":{function} |" in functions
    assert "| aten::mkldnn_convolution |" in operations
