"""Steps for datatrove: two workers of its local executor, one of which is killed; the file for Slurm."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from dense_hf.cli import main

pytest.importorskip("datatrove")

from datatrove.executor import LocalPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor

from dense_hf.cluster import CountObjects, LocalizeClasses, MergeParts, SegmentVideo

# one of two machines; dies behind its second image, if it is told to
WORKER = """
import os, signal, sys
from datatrove.executor import LocalPipelineExecutor
from dense_hf.cli import count
from dense_hf.cluster import CountObjects

model, photos, folder, rank, dies = sys.argv[1:]
done, counted = [], count._count_file
def count_file(*words, **options):
    done.append(words[0])
    if len(done) > 2 and dies == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return counted(*words, **options)
count._count_file = count_file
step = CountObjects(model, photos, folder + "/counts", ["--recursive"])
LocalPipelineExecutor([step], tasks=2, workers=1, local_tasks=1, local_rank_offset=int(rank),
                      logging_dir=folder + "/logs").run()
print("counted", len(done))
"""


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if "shards" not in path.parts}


@pytest.mark.slow
def test_two_workers_one_killed(counter_checkpoint, noise, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the names decide who counts what: 5 are the second worker's
    photos = Path("photos")
    photos.mkdir()
    for number in range(9):
        noise(64, 48, number).save(photos / f"{number}.png")

    def start(rank: int, dies: str = "lives") -> subprocess.Popen:
        words = [counter_checkpoint, photos, tmp_path, rank, dies]
        command = [sys.executable, "-c", WORKER, *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, start_new_session=True, **pipes)

    first, second = start(0), start(1, "dies")
    assert first.wait(300) == 0, first.stderr.read()
    assert second.wait(300) == -signal.SIGKILL
    with suppress(ProcessLookupError):
        os.killpg(second.pid, signal.SIGKILL)  # the executor's own process, which nobody ends otherwise
    assert os.listdir(tmp_path / "logs/completions") == ["00000"]
    again = start(1)
    output, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    counted = int(output.split()[-1]) + int(first.stdout.read().split()[-1])
    assert counted == 9 - 2  # two were counted before the kill
    LocalPipelineExecutor([MergeParts(tmp_path / "counts")], logging_dir=str(tmp_path / "merge_logs"), workers=1).run()
    stats = json.loads((tmp_path / "logs/stats/00001.json").read_text())[0]["stats"]
    words = ["count", str(photos), "-r", "--model", counter_checkpoint, "--output", str(tmp_path / "whole")]
    assert main(words) == 0
    assert content(tmp_path / "counts") == content(tmp_path / "whole")
    assert stats["images"] == int(output.split()[-1]) + 2


def test_masks_and_videos_are_steps_too(segmenter_checkpoint, tmp_path, noise):
    for video in ("north", "south", "west"):
        (tmp_path / "videos" / video).mkdir(parents=True)
        for number in range(2):
            noise(64, 48, number).save(tmp_path / "videos" / video / f"{number}.png")
    videos = sorted((tmp_path / "videos").iterdir())
    step = SegmentVideo(segmenter_checkpoint, videos, tmp_path / "out")
    step.run(rank=1, world_size=2)
    assert [path.name for path in (tmp_path / "out/tables").glob("*.csv")] == ["south.csv"]
    assert step.stats["frames"].total == 2
    step.run(rank=0, world_size=2)
    assert len(list((tmp_path / "out/labels/data").glob("*/mask/*.png"))) == 6
    with pytest.raises(ValueError, match="south"):
        SegmentVideo(segmenter_checkpoint, [*videos, tmp_path / "south.mp4"], tmp_path / "out")
    with pytest.raises(RuntimeError, match="Received: 2"):
        LocalizeClasses(tmp_path / "nothing", tmp_path, tmp_path / "masks").run()


def test_the_file_for_slurm(tmp_path, monkeypatch):
    """What `sbatch` would get. It has not run under Slurm."""
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin/sbatch"
    sbatch.write_text("#!/bin/sh\necho Submitted batch job 7\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    step = CountObjects("org/iocformer", "/data/survey", "/data/counts", ["--no-overlays"])
    SlurmPipelineExecutor(
        [step], tasks=100, time="02:00:00", partition="gpu", gpus_per_task=1, mem_per_cpu_gb=8,
        logging_dir=str(tmp_path / "logs"), venv_path="/data/venv/bin/activate", mail_type="NONE",
    ).run()  # fmt: skip
    job = tmp_path / "logs/launch_script.slurm"
    text = job.read_text()
    for line in ("--array=0-99", "--partition=gpu", "--time=02:00:00", "--gpus", "source /data/venv/bin/activate"):
        assert line in text, text
    assert subprocess.run(["bash", "-n", job]).returncode == 0
