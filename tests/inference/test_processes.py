"""Processes of a distributed run end their group while Python still runs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import run_processes

pytestmark = pytest.mark.no_cover

SCRIPTS = Path(__file__).parents[2] / "scripts"
# the names of threads are those of Linux; it starts others of its own
PARTING = """
import os
import sys

import torch
from transformers import Trainer  # imports what keeps a default process group, if there is one by then
from dense_hf.inference.processes import closes_process_group


def threads(when):
    names = [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]
    open(f"{sys.argv[1]}/{when}-{os.environ['RANK']}", "w").write(" ".join(name for name in names if "gloo" in name))


@closes_process_group
def main():
    torch.distributed.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 3))
    model.cycle = model  # as a trainer has them
    model(torch.ones(2, 3)).sum().backward()
    threads("inside")
    if "fail" in sys.argv:
        raise ValueError("no more")


try:
    main()
except ValueError:
    pass
threads("after")
"""


def threads_of_both(folder):
    return [{when: (folder / f"{when}-{rank}").read_text().split() for when in ("inside", "after")} for rank in (0, 1)]


@pytest.mark.skipif(sys.platform != "linux", reason="lists threads as Linux does")
def test_no_thread_of_the_group_outlives_the_work(tmp_path, script_environment):
    """Of new interpreters, by the real torchrun."""
    (tmp_path / "parting.py").write_text(PARTING)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run([*launcher, tmp_path / "parting.py", tmp_path], env=script_environment, check=True)
    for process in threads_of_both(tmp_path):
        assert process["inside"]
        assert process["after"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="lists threads as Linux does")
def test_a_process_that_fails_does_not_wait_for_the_others(tmp_path, script_environment):
    (tmp_path / "parting.py").write_text(PARTING)
    run_processes(2, [sys.executable, tmp_path / "parting.py", tmp_path, "fail"], env=script_environment)
    for process in threads_of_both(tmp_path):
        assert process["after"] == process["inside"] != []


def test_every_script_for_several_processes_parts_like_this():
    texts = {path.name: path.read_text(encoding="utf-8") for path in SCRIPTS.glob("*.py")}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    # what a manual says can be launched as several processes
    several = {
        n for n, tree in trees.items() if re.search("accelerate launch|torchrun", ast.get_docstring(tree) or "")
    }
    assert len(several) > 10
    parting = {
        name
        for name, tree in trees.items()
        for function in tree.body
        if isinstance(function, ast.FunctionDef)
        and function.name == "main"
        and [ast.unparse(decorator) for decorator in function.decorator_list[:1]] == ["closes_process_group"]
    }
    assert parting == several - {"run_weak_pipeline.py"}  # it launches the processes of others
