"""Exported models at work, without torch and transformers: onnxruntime, numpy and Pillow are enough.

    python -m dense_hf.export.runtime exported/iocformer reef.jpg survey --output counts

gives the tables of `dense-hf count`: counts.csv, points.csv and counts.json. In a program:

    from dense_hf.export.runtime import ExportedCounter
    ExportedCounter("exported/iocformer").count(image)["count"]

On a machine without torch: pip install --no-deps dense_hf, and pip install onnxruntime numpy pillow.
"""

import argparse
import os
import sys
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..data.images import open_image
from ..errors import InvalidDataError
from ..inference.console import say, shown
from ..inference.count_tables import CountRow, CountTables
from ..inference.image_files import find_images, tell_left_out
from ..reading import read_json
from .runtime_counting import ExportedCount, PartCounting, TileCounting

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

EXPORT_FILE = "export.json"
_MAX_BYTES = 2**24


def open_session(path: str | os.PathLike) -> "InferenceSession":
    """An ONNX file, ready to run on the CPU.

    Raises:
        InvalidDataError: it is missing, or not one.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception for each of its states
        raise InvalidDataError(path, "an ONNX file", error) from error


class ExportedModel:
    """Graphs that `dense-hf export --to onnx` wrote.

    Args:
        folder: with export.json.

    Attributes:
        document: what export.json has.

    Raises:
        InvalidDataError: no such folder, or one whose files are missing or no ONNX.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        path = self.folder / EXPORT_FILE
        self.document = read_json(path, _MAX_BYTES)
        if not isinstance(self.document, dict) or self.document.get("made_by") != "dense_hf":
            raise InvalidDataError(path, "what `dense-hf export` writes", "another JSON file")
        if self.document.get("format") != "onnx":
            raise InvalidDataError(path, "a model that was exported to onnx", self.document.get("format"))
        self._sessions: dict[str, InferenceSession] = {}

    def run(self, graph: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of a graph by name; float32 arrays in, see export.json for names and shapes."""
        if graph not in self.document["graphs"]:
            known = ", ".join(self.document["graphs"])
            raise ValueError(f"The graph must be one of {known}. Received: {graph}")
        described = self.document["graphs"][graph]
        if graph not in self._sessions:
            name = Path(described["file"]).name  # never a path
            self._sessions[graph] = open_session(self.folder / name)
        found = self._sessions[graph].run(described["outputs"], inputs)
        return {name: np.asarray(value) for name, value in zip(described["outputs"], found)}


class ExportedCounter(ExportedModel):
    """A counter; arguments and errors as for `ExportedModel`."""

    def __init__(self, folder: str | os.PathLike):
        super().__init__(folder)
        if self.document.get("task") != "object-counting":
            raise InvalidDataError(self.folder / EXPORT_FILE, "a model that counts", self.document.get("task"))
        settings = self.document["processor"]
        self._rules = TileCounting(settings) if "tile_size" in settings else PartCounting(settings)

    def count(
        self, image: Image.Image | np.ndarray, threshold: float | None = None, batch_size: int = 8
    ) -> ExportedCount:
        """Count the objects of an image of any size, as `count_objects` of its processor does.

        Args:
            image: of Pillow, or uint8 [height, width, 3].
            threshold: the least score that counts; by default what the model's processor says.
            batch_size: tiles, or parts of one size, at a time.

        Raises:
            ValueError: outputs that are not finite, or an array that is no picture.
        """
        pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"An image must be uint8 [height, width, 3]. Received: {pixels.dtype} {pixels.shape}")
        return self._rules(lambda batch: self.run("model", pixel_values=batch), pixels, threshold, batch_size)

    def threshold_for(self, threshold: float | None) -> float | None:
        """The least score that counts if the caller says this; `None` where the density says how many points."""
        return self._rules.threshold_for(threshold)


class ExportedVideo(ExportedModel):
    """A model that looks back at earlier frames, or one of single frames, frame by frame.

    As `segment_frame` with a session; `reset` begins another video.
    """

    def __init__(self, folder: str | os.PathLike):
        super().__init__(folder)
        self._offsets: list[int] = self.document.get("frame_offsets") or []
        self._parts = [
            name.removeprefix("reference_")
            for name in self.document["graphs"].get("next_frame", {}).get("inputs", ())
            if name.startswith("reference_")
        ]
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._number = 0
        self._states: deque[dict[str, np.ndarray]] = deque(maxlen=max(self._offsets, default=1))

    def segment_frame(self, frame: np.ndarray) -> np.ndarray:
        """Frame float32 [B, 3, height, width], normalized -> logits [B, K, height / 4, width / 4]."""
        if not self._parts:
            return self.run("model", pixel_values=frame)["logits"]
        starts = self.document["first_references"]
        if self._number < len(starts):
            looked_at = starts[self._number]
        else:
            looked_at = [self._number - offset for offset in self._offsets]
        if looked_at is None:
            found = self.run("first_frame", pixel_values=frame)
        else:
            references = {
                f"reference_{part}": self._states[looked_at[int(part.partition("_")[0])] - self._number][part]
                for part in self._parts
            }
            found = self.run("next_frame", pixel_values=frame, **references)
        self._states.append({part: found[f"state_{part}"] for part in self._parts})
        self._number += 1
        return found["logits"]


def count_files(
    folder: str | os.PathLike,
    images: Sequence[Path],
    output: Path,
    threshold: float | None = None,
    batch_size: int = 8,
    errors: Mapping[str, str] | None = None,
) -> list[CountRow]:
    """Count images with an exported model and write the tables of `dense-hf count`.

    Args:
        folder: of the model.
        images: files; what is wrong with one stands in counts.json.
        output: folder for the tables, which are replaced.
        threshold, batch_size: as for `ExportedCounter.count`.
        errors: what is wrong with other files, for counts.json.

    Returns:
        A row for each image that was counted.
    """
    counter = ExportedCounter(folder)
    output.mkdir(parents=True, exist_ok=True)
    rows, failures = [], dict(errors or {})
    with CountTables(output, []) as tables:
        for path in images:
            try:
                image = open_image(path)
            except InvalidDataError as error:
                failures[shown(path)] = shown(str(error))
                continue
            found = counter.count(image, threshold, batch_size)
            scores = found["scores"]
            row = CountRow(
                file=shown(path),
                width=image.width,
                height=image.height,
                count=found["count"],
                density_count=found["density_count"],
                mean_score=float(scores.mean()) if len(scores) else None,
                crowded_tiles=found["crowded_tiles"],
                points=[(x, y, score) for (x, y), score in zip(found["points"].tolist(), scores.tolist())],
            )
            rows.append(row)
            tables.add(row)
        settings = {
            "model": os.fspath(folder),
            "source": counter.document["source"],
            "precision": counter.document["precision"],
            "threshold": counter.threshold_for(threshold),
        }
        tables.finish(rows, failures, settings)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Count with an exported model. 0 done, 1 some files could not be counted, 2 nothing could be done."""
    parser = argparse.ArgumentParser(
        prog="python -m dense_hf.export.runtime",
        description="Count the objects in images with an exported model: no torch is needed.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="what `dense-hf export MODEL FOLDER --to onnx` wrote")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders, or quoted patterns")
    parser.add_argument("--output", type=Path, default=Path("counts"), metavar="DIR", help="default: counts")
    parser.add_argument("--recursive", "-r", action="store_true", help="search folders inside folders, too")
    parser.add_argument("--threshold", type=float, help="least score that counts (default: the model's)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="tiles at a time (default: 8)")
    args = parser.parse_args(argv)
    left_out: Counter[str] = Counter()
    images, errors = find_images(args.images, args.recursive, [args.output], left_out)
    for sentence in tell_left_out(left_out):
        say(sentence, error=True)
    try:
        rows = count_files(args.folder, images, args.output, args.threshold, args.batch_size, errors)
    except (OSError, ValueError, ImportError) as error:
        say(f"dense_hf.export.runtime: {shown(str(error))}", error=True)
        return 2
    say(f"{sum(row.count for row in rows)} objects in {len(rows)} images; results in {shown(args.output)}")
    return 2 if not rows else int(len(rows) < len(images) + len(errors))


if __name__ == "__main__":
    sys.exit(main())
