"""Video models compared on one set of videos: `dense-hf compare` with names of video models.

A row is a file for scripts/train_video_baseline.py (of CFFM++ for scripts/train_cffm_plus.py), which is written beside
its model, so that any row can be trained alone. Two of the rows learn nothing: the mean of the probabilities of three
frames of another row, and one class for every pixel. The last weights count.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import yaml
from PIL import Image

from ...data.files import write_file
from ...data.images import open_image, read_image_header
from ...data.labels import IGNORED, read_mask
from ...data.videos import Video, VideoSet
from ...inference.checkpoints import load_video_model
from ...inference.prototype_files import PrototypeMaker
from ...inference.result_folders import hash_of, write_json
from ...inference.video_folder_options import VideoFolderArguments
from ...inference.video_label_maps import (
    evaluate_videos,
    is_counted,
    judge_video,
    require_countable,
    segment_video,
)
from ...methods import frame_offsets
from ...metrics.consistency import VideoConsistency
from ...metrics.segmentation import MeanIoU
from ...reading import read_json
from ...visualization.labels import draw_labels
from ...visualization.sheets import draw_sheet
from ..run_options import TrainingRun
from ..video.cffm_plus import train_cffm_plus
from ..video.options import parse_video_run
from ..video.run import train_video_model
from .counting_baselines import parameters_of
from .log import logged, timed
from .method_names import check_methods
from .runner import MAX_BYTES, TEST, Row
from .video_conditions import CLEAN, Condition, parse_conditions
from .video_names import BASES, NAMES
from .video_recipes import FRAME_OFFSETS, RECIPES, VideoBudget, sections_of

CONSTANT = Row("constant", "Most frequent class", "of the training pixels, for every pixel; never unsteady", False)
NUMBERS = ("mean_iou", "damaged_mean_iou", "vc8", "vc16")
AVERAGED = 3  # frames
NUM_PICTURES = 3


@dataclass
class VideoTask:
    """Rows of video models on one set. See [`runner.Task`] for what the functions give.

    Args:
        methods: names of `NAMES`.
        videos: the set, with masks in all three splits.
        source: options of the data as words, as all trainings on video take them.
        protocol: see `evaluate_videos`.
        budget: what is the same for all.
        conditions: how test videos are shown, the clean one first.
    """

    methods: Sequence[str]
    videos: VideoSet
    source: Sequence[str]
    protocol: str
    budget: VideoBudget
    conditions: Sequence[Condition] = (Condition(CLEAN),)
    name: str = field(default="video", init=False)

    @property
    def columns(self) -> dict[str, tuple[str, str, bool | None]]:
        """Of the table: key -> title, format, whether less is better. VC has its protocol in the title."""
        found: dict[str, tuple[str, str, bool | None]] = {}
        for condition in self.conditions:
            shown = "" if condition.name == CLEAN else f", {condition.name}"
            found[_key("mean_iou", condition)] = (f"mIoU{shown}", ".1%", False)
            if condition.variant.damage is not None:
                found[_key("damaged_mean_iou", condition)] = (f"mIoU of the damaged frames{shown}", ".1%", False)
            for length in (8, 16):
                found[_key(f"vc{length}", condition)] = (f"VC{length} ({self.protocol}){shown}", ".1%", False)
        return found | {
            "validation_mean_iou": ("mIoU on validation", ".1%", False),
            "seconds_per_frame": ("s a frame", ".3f", True),
            "parameters": ("parameters", ",.0f", None),
            "trained": ("of them trained", ",.0f", None),
            "training_seconds": ("s of training", ".0f", None),
        }

    def rows(self) -> list[Row]:
        """Those that were asked for, and one class for every pixel."""
        return [*(Row(name, *NAMES[name]) for name in self.methods), CONSTANT]

    def settings(self) -> dict[str, Any]:
        """Data, splits and budget; rows, seeds and conditions may be added later."""
        splits = {
            split: {
                "videos": len(members),
                "frames": sum(len(video.frames) for video in members),
                "hash": hash_of((video.video_id, [one.frame_id for one in video.frames]) for video in members),
            }
            for split, members in self.videos.splits.items()
        }
        budget = asdict(self.budget) | {"frame_size": "{} x {}".format(*self.budget.frame_size)}
        return {"splits": splits, "protocol": self.protocol, **budget}

    def train(self, row: Row, seed: int, folder: Path) -> dict[str, Any]:
        """Train, or nothing for rows that do not learn; numbers of the validation videos."""
        if row == CONSTANT:
            write_json(folder / "baseline.json", {"label": self._most_frequent})
            return {"validation": self._judge_constant(folder, "validation")}
        trained = {}
        if row.name in RECIPES:
            trained = self._train(row.name, seed, folder)
        place = self._model_of(row, folder)
        numbers = self._judge(row, place, Condition(CLEAN), "validation")
        model, _ = load_video_model(str(place))
        return {"validation": numbers, **parameters_of(type(model)(model.config)), **trained}

    def judge(self, row: Row, seed: int, folder: Path) -> dict[str, Any]:
        """Numbers of the test videos under every condition that means something for the row."""
        if row == CONSTANT:
            return self._judge_constant(folder, "test") | {"conditions": [one.name for one in self.conditions]}
        found: dict[str, Any] = read_json(folder / TEST, MAX_BYTES) if (folder / TEST).is_file() else {}
        for condition in self.conditions:
            if condition.name in found.setdefault("conditions", []):
                continue
            numbers = self._judge(row, self._model_of(row, folder), condition, "test")
            found |= {_key(key, condition): value for key, value in numbers.items()}
            found["conditions"].append(condition.name)
            write_json(folder / TEST, found)
        return found

    def is_judged(self, numbers: Mapping[str, Any]) -> bool:
        """Whether no condition is new."""
        return {one.name for one in self.conditions} <= {*numbers["conditions"]}

    def draw(self, rows: Sequence[tuple[Row, Path]], folder: Path) -> list[dict[str, str]]:
        """Annotated test frames and what every model says of them, after the frames before."""
        labelled = [(video, number) for video in self.videos.splits["test"] for number in video.labelled]
        places = {round(share * (len(labelled) - 1)) for share in np.linspace(0.25, 0.75, NUM_PICTURES)}
        chosen = [labelled[place] for place in sorted(places)]
        panels = []
        for video, number in chosen:
            frame = video.frames[number]
            picture = open_image(frame.image_path, self.videos.max_pixels)
            truth = read_mask(frame.mask_path, picture.size, self.videos.rule, self.videos.max_pixels)
            panels.append([(self._paint(picture, truth), "annotated")])
        for row, place in rows:
            if row.name not in RECIPES:
                continue
            with self._model(place / "model") as (model, processor, extra):
                for (video, number), drawn in zip(chosen, panels):
                    numbers = range(max(0, number - max(frame_offsets(model.config))), number + 1)
                    inputs = {} if extra is None else extra(video)
                    *_, (_, labels, _) = segment_video(model, processor, self.videos, video, numbers, inputs)
                    picture = open_image(video.frames[number].image_path, self.videos.max_pixels)
                    drawn.append((self._paint(picture, labels), row.title))
        entries = []
        for number, ((video, place), drawn) in enumerate(zip(chosen, panels), start=1):
            draw_sheet(drawn).save(folder / f"picture_{number}.jpg", quality=80)
            about = f"{video.video_id}, frame {video.frames[place].frame_id}, of the test"
            entries.append({"file": f"picture_{number}.jpg", "about": about})
        return entries

    # -- rows that learn -------------------------------------------------------------------------------------------

    def _train(self, name: str, seed: int, folder: Path) -> dict[str, Any]:
        run = self._run(name, seed, folder)
        train = train_cffm_plus if name in BASES else train_video_model
        try:
            _, seconds = timed(folder, partial(train, run, judged=()))
        except URLError as error:
            raise ValueError(f"{NAMES[name][0]} needs weights that could not be downloaded: {error}") from error
        return {"training_seconds": seconds, "curve": logged(folder / "model", "loss")}

    def _run(self, name: str, seed: int, folder: Path) -> TrainingRun:
        recipe = RECIPES[name]
        sections = sections_of(recipe, self.budget, self._num_places, self._frame_size)
        words = [*self.source, "--output_dir", str(folder / "model"), "--seed", str(seed)]
        words += ["--resume_from_checkpoint", "auto", "--report_to", "none"]
        if name in BASES:
            base = self._base_folder(name, folder)
            sections["model"]["model_name_or_path"] = str(base / "model")
            sections["training"]["prototypes"] = str(base / "prototypes")
        write_file(folder / "recipe.yaml", yaml.safe_dump(sections, sort_keys=False).encode())
        return parse_video_run(recipe.method, arguments=["--config", str(folder / "recipe.yaml"), *words])

    @property
    def _num_places(self) -> int:
        """As `VideoTrainingSet` counts them."""
        places = [
            1 if len(video.labelled) == len(video.frames) else len(video.labelled)
            for video in self.videos.splits["train"]
            if len(video.frames) > max(FRAME_OFFSETS)
        ]
        return max(1, sum(places))

    @cached_property
    def _frame_size(self) -> tuple[int, int]:
        """(width, height) of the first frame."""
        header = read_image_header(self.videos.splits["train"][0].frames[0].image_path, self.videos.max_pixels)
        return header.width, header.height

    def _base_folder(self, name: str, folder: Path) -> Path:
        """Of the row that another one builds on, with the same seed."""
        return folder.parent.parent / BASES[name] / folder.name

    def _model_of(self, row: Row, folder: Path) -> Path:
        return (folder if row.name in RECIPES else self._base_folder(row.name, folder)) / "model"

    # -- judging ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _model(self, place: Path) -> Generator[tuple[Any, Any, Any]]:
        """A trained model, its processor, and what gives the prototypes of a video, if the model wants them."""
        model, processor = load_video_model(str(place))
        extra = None
        if hasattr(model, "find_prototypes"):
            extra = cache(PrototypeMaker.of(model, processor, max_pixels=self.videos.max_pixels).__call__)
        yield model, processor, extra

    def _judge(self, row: Row, place: Path, condition: Condition, split: str) -> dict[str, Any]:
        members = [video for video in self.videos.splits[split] if condition.video in (None, video.video_id)]
        with self._model(place) as (model, processor, extra):
            if not condition.fits(model):
                return {}
            if condition.frame_offsets is not None:
                model.config.frame_offsets = list(condition.frame_offsets)
            shown = condition if row.name in RECIPES else condition.average(AVERAGED)
            values = evaluate_videos(
                model,
                processor,
                self.videos,
                members,
                protocol=self.protocol,
                extra_inputs=extra,
                measure_speed=condition.name == CLEAN,
                description=f"{row.title}, {condition.name}",
                variant=shown.variant,
            )
        numbers = {key: values[key] for key in NUMBERS if key in values}
        if rate := values.get("frames_per_second"):
            numbers["seconds_per_frame"] = 1 / rate
        return numbers

    @cached_property
    def _most_frequent(self) -> int:
        counts = np.zeros(256, np.int64)
        for video in self.videos.splits["train"]:
            for number in video.labelled:
                counts += np.bincount(self._truth(video, number).ravel(), minlength=256)
        counts[IGNORED] = 0
        return int(counts.argmax())

    def _truth(self, video: Video, number: int) -> np.ndarray:
        frame = video.frames[number]
        header = read_image_header(frame.image_path, self.videos.max_pixels)
        size, path = (header.width, header.height), frame.mask_path
        return read_mask(path, size, self.videos.rule, self.videos.max_pixels)  # ty: ignore[invalid-argument-type]

    def _judge_constant(self, folder: Path, split: str) -> dict[str, Any]:
        label = int(read_json(folder / "baseline.json", MAX_BYTES)["label"])
        overlap = MeanIoU(
            self.videos.rule.num_labels, classes="occurring" if self.protocol == "thesis" else "annotated"
        )
        consistency = VideoConsistency(protocol=self.protocol)  # ty: ignore[invalid-argument-type]
        for video in self.videos.splits[split]:
            if is_counted(video, self.protocol):
                maps = {number: np.full_like(self._truth(video, number), label) for number in video.labelled}
                judge_video(self.videos, video, maps, overlap, consistency)
        found: Mapping[str, Any] = overlap.compute() | consistency.compute()
        return {key: found[key] for key in NUMBERS if key in found}

    def _paint(self, picture: Image.Image, labels: np.ndarray) -> Image.Image:
        known = labels[labels != IGNORED]
        return draw_labels(picture, labels, self.videos.rule.names, legend=sorted({int(one) for one in known}))


def _key(number: str, condition: Condition) -> str:
    return number if condition.name == CLEAN else f"{number}@{condition.name}"


def video_task(
    methods: Sequence[str], source: Sequence[str], budget: VideoBudget, conditions: Sequence[str] = ()
) -> VideoTask:
    """The task of `dense-hf compare` with names of video models.

    Args:
        methods: names of `NAMES`.
        source: options of the data, as words.
        budget: what is the same for all.
        conditions: how the test is shown besides clean, see `video_conditions`.

    Raises:
        InvalidDataError: data that cannot be used.
        ValueError: names that are none, appear twice or lack the row that they build on; a split without masks.
    """
    check_methods(methods, NAMES, BASES)
    for name in methods:
        if name in RECIPES:
            sections_of(RECIPES[name], budget, 1)  # a backbone that is none, or lacks maps
    data: VideoFolderArguments = parse_video_run("cffm", arguments=[*source, "--output_dir", "unused"]).data
    videos = data.read()
    videos.splits = {
        split: videos.splits[split] for split in ("train", "validation", "test") if split in videos.splits
    }
    splits = ("train", "validation", "test")
    if absent := [name for name in splits if not any(video.labelled for video in videos.splits.get(name, []))]:
        raise ValueError(
            "A comparison needs training, validation and test videos with masks (train.txt, val.txt, test.txt of a "
            f"folder in the layout of VSPW). Received: none for {' and '.join(absent)}"
        )
    for split in ("validation", "test"):
        require_countable(videos.splits[split], data.protocol)
    names = [video.video_id for video in videos.splits["test"]]
    return VideoTask(methods, videos, source, data.protocol, budget, parse_conditions(conditions, names))
