"""Steps for datatrove, which runs them on this machine, under Slurm, on Ray or as Jobs of the Hub.

    pip install dense_hf[cluster]

    from datatrove.executor import LocalPipelineExecutor
    from dense_hf.cluster import CountObjects, MergeParts

    count = LocalPipelineExecutor([CountObjects("org/iocformer", "survey", "counts")], tasks=100, workers=4,
                                  logging_dir="logs/count")
    LocalPipelineExecutor([MergeParts("counts")], logging_dir="logs/merge", depends=count).run()

A task is a part of the run (`--shard`), and always goes on with what a task that was killed has left. datatrove starts
tasks that are not complete again, and adds up their statistics.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep

from ..cli import main
from ..cli.sharding import RECORDS
from ..errors import first_of


class _Command(PipelineStep):
    """A command of `dense-hf` as a step that ends its pipeline: it takes and gives no documents."""

    type = "dense_hf"

    def _do(self, words: Iterable[str | os.PathLike]) -> int:
        """Run the command; 1, some files could not be read, is a result.

        Raises:
            RuntimeError: it could not be done, or was interrupted; the reason is in the log.
        """
        words = [os.fspath(word) for word in words]
        code = main(words)
        if code not in (0, 1):
            raise RuntimeError(f"dense-hf {' '.join(words)} must end with 0 or 1. Received: {code}")
        return code


class CountObjects(_Command):
    """`dense-hf count --shard`: one part for each task; `MergeParts` puts them together.

    Args:
        model: folder of a checkpoint, or its name on the Hub.
        images: a file, folder or pattern, or several.
        output: folder for the results, the same on all machines.
        options: other words of the command, such as ["--recursive", "--no-overlays"].
    """

    name = "Count objects"
    command = "count"

    def __init__(
        self,
        model: str | os.PathLike,
        images: str | os.PathLike | Sequence[str | os.PathLike],
        output: str | os.PathLike,
        options: Sequence[str] = (),
    ):
        super().__init__()
        sources = [images] if isinstance(images, (str, os.PathLike)) else [*images]
        self.words = [self.command, *sources, "--model", model, "--output", output, *options]
        self.output = Path(output)

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        """Do part `rank` (from 0) of `world_size`."""
        from ..inference.run_records import read_line, read_record
        from ..inference.shards import Shard

        shard = Shard(rank + 1, world_size)
        self._do([*self.words, "--shard", str(shard), "--resume"])
        record = shard.folder(self.output) / RECORDS[self.command]
        for place in read_record(record)[1].values():
            result = read_line(record, place)["result"]
            self.stat_update("images")
            if "count" in result:
                self.stat_update("objects", value=result["count"], unit="image")


class LocalizeClasses(CountObjects):
    """`dense-hf localize --shard`: as `CountObjects`; `images` is a folder. Every task reads all of its images."""

    name = "Localize classes"
    command = "localize"


class SegmentVideo(_Command):
    """`dense-hf segment`: whole videos, those of a task one after the other.

    Labels go to OUTPUT/labels, in the layout of VSPW, and a table of each video to OUTPUT/tables.

    Args:
        model: folder of a checkpoint, or its name on the Hub.
        videos: files or folders of frames; their names must differ, also without endings.
        output: folder for the results, the same on all machines.
        options: other words of the command, such as ["--device", "cuda"].

    Raises:
        ValueError: two videos of one name.
    """

    name = "Segment video"

    def __init__(
        self,
        model: str | os.PathLike,
        videos: Sequence[str | os.PathLike],
        output: str | os.PathLike,
        options: Sequence[str] = (),
    ):
        from ..cli.frame_sources import video_name

        super().__init__()
        self.videos = {video_name(os.fspath(video)): os.fspath(video) for video in videos}
        if len(self.videos) < len(videos):
            names = [video_name(os.fspath(video)) for video in videos]
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"Videos must have different names. Received: {first_of(repeated, 5)}")
        self.model, self.output, self.options = os.fspath(model), Path(output), list(options)

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        """Segment every `world_size`-th video, from number `rank` on."""
        tables = self.output / "tables"
        tables.mkdir(parents=True, exist_ok=True)
        for name in sorted(self.videos)[rank::world_size]:
            results = ["--labels-dir", self.output / "labels", "--table", tables / f"{name}.csv"]
            self._do(["segment", self.videos[name], "--model", self.model, *results, *self.options, "--resume"])
            self.stat_update("videos")
            self.stat_update("frames", value=(tables / f"{name}.csv").read_bytes().count(b"\n") - 1, unit="video")


class MergeParts(_Command):
    """`dense-hf merge`, as the one task of an executor that depends on the parts'.

    Args:
        output: that of the parts.
    """

    name = "Merge parts"

    def __init__(self, output: str | os.PathLike):
        super().__init__()
        self.output = output

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        """Merge, in task 0."""
        if rank == 0:
            self._do(["merge", self.output])


__all__ = ["CountObjects", "LocalizeClasses", "MergeParts", "SegmentVideo"]
