"""Ways from image labels to masks, compared on one set: `dense-hf compare` with names of chapter 3 (Tables 3.2, 3.4).

A row is a file for scripts/run_weak_pipeline.py, which is written beside its model, so that any row can be made alone.
Some rows make other maps with the classifier of another row; two have no model. Every row knows the labels of the
pictures whose masks it makes, on the test, too; a segmenter behind it does not. What is chosen is chosen on validation
masks: the score of the background. The last weights count.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from ...data.files import write_file
from ...data.images import open_image, read_size
from ...data.labels import IGNORED
from ...data.weak_folder import WeakFolder, WeakImage, require_classes
from ...data.weak_source import (
    mask_rule,
    read_weak_mask,
    read_weak_split,
    read_weak_training,
    weak_list_path,
    weak_masks_dir,
)
from ...errors import InvalidDataError
from ...inference.checkpoints import load_mcis, load_model
from ...inference.checks import check_images, check_label_maps
from ...inference.finite_outputs import judging
from ...inference.label_maps import evaluate_segmentation
from ...inference.localization_maps import image_group, make_maps
from ...inference.pseudo_label_files import LabelMaker, make_labels
from ...inference.result_folders import hash_of, write_json
from ...inference.shares import each_of_share
from ...metrics.pseudo_labels import PseudoLabelQuality
from ...reading import read_json
from ...visualization.labels import draw_labels
from ...visualization.sheets import draw_sheet
from ...weak_segmentation import LocalizationSettings, Localizer, MultiScaleSegmenter, PseudoLabelSettings
from ...weak_segmentation.modeling_deeplab_largefov import DeepLabLargeFOVForSemanticSegmentation
from ..batch_norm import freeze
from ..classifier.options import parse_mcis_run
from ..classifier.run import train_classifier
from ..segmenter.options import parse_segmenter_run
from ..segmenter.run import train_segmenter
from .counting_baselines import parameters_of
from .log import logged, timed
from .method_names import check_methods
from .runner import MAX_BYTES, TRAINING, Row
from .weak_baselines import all_background, judge_labels, read_masks, scores_of, whole_picture
from .weak_names import BASES, NAMES
from .weak_recipes import PSEUDO_LABELS, RECIPES, SCORES, WeakBudget, sections_of, windows_of

CONSTANTS: dict[str, tuple[Row, Callable[[WeakImage, tuple[int, ...]], np.ndarray]]] = {
    row.name: (row, label_of)
    for row, label_of in (
        (Row("all_background", "All background", "no class anywhere, whatever the labels say", False), all_background),
        (Row("whole_picture", "The whole picture is its (first) class", "by its labels", False), whole_picture),
    )
}
JUDGED = {"validation": "val", "test": "test"}  # name of a split to that of its folder or list
ATTENDED = "attended_positions"  # of a softmax of the co-attention, in the log of a training
NUM_PICTURES, PICTURE_WIDTH = 3, 240


@dataclass
class WeakTask:
    """Rows of chapter 3 on one set. See [`runner.Task`] for what the functions give.

    Args:
        methods: names of `NAMES`.
        data_dir: the set.
        splits: its images, with masks in all but training.
        budget: what is the same for all.
    """

    methods: Sequence[str]
    data_dir: str
    splits: Mapping[str, WeakFolder]
    budget: WeakBudget
    name: str = field(default="weak", init=False)

    @property
    def columns(self) -> dict[str, tuple[str, str, bool | None]]:
        """Of the table: key -> title, format, whether less is better."""
        found: dict[str, tuple[str, str, bool | None]] = {
            "mean_iou": ("mIoU of masks", ".1%", False),
            "validation_mean_iou": ("mIoU of masks on validation", ".1%", False),
        }
        if self.budget.segmenter_steps:
            found |= {
                "segmenter_mean_iou": ("mIoU of the segmenter", ".1%", False),
                "validation_segmenter_mean_iou": ("mIoU of the segmenter on validation", ".1%", False),
            }
        return found | {
            "background_score": ("score of the background", ".2f", None),
            ATTENDED: ("attended positions", ".1f", None),
            "seconds_per_picture": ("s a picture", ".3f", True),
            "parameters": ("parameters", ",.0f", None),
            "trained": ("of them trained", ",.0f", None),
            "training_seconds": ("s of training", ".0f", None),
        }

    def rows(self) -> list[Row]:
        """Those that were asked for, and two that need no model."""
        return [*(Row(name, *NAMES[name]) for name in self.methods), *(row for row, _ in CONSTANTS.values())]

    def settings(self) -> dict[str, Any]:
        """Data, splits and budget; rows and seeds may be added later."""
        splits = {
            split: {
                "images": len(folder),
                "labels": sum(len(image.labels) for image in folder.images),
                "hash": hash_of((folder.class_names, [(image.name, image.labels) for image in folder.images])),
            }
            for split, folder in self.splits.items()
        }
        return {"splits": splits, **asdict(self.budget)}

    def train(self, row: Row, seed: int, folder: Path) -> dict[str, Any]:
        """Train a classifier, or take that of another row; choose the score; perhaps train a segmenter."""
        if row.name in CONSTANTS:
            return {"validation": self._judge_constant(row, "validation")}
        trained = {} if row.name in BASES else self._train_classifier(row, seed, folder)
        of_scores = self._judge(row, self._model_of(row, folder), "validation", SCORES)
        score = max(of_scores, key=lambda one: of_scores[one]["mean_iou"])
        numbers = of_scores[score]
        self._write_recipe(row, folder, score)
        self._keep_score(row, folder, score)
        if self.budget.segmenter_steps:
            self._train_segmenter(row, seed, folder, score)
            numbers |= self._judge_segmenter(folder, "validation")
        model, _ = load_mcis(self._model_of(row, folder))
        if self.budget.backbone_weights is not None:
            freeze(model.backbone)  # as in training: no configuration says it
        return {"validation": numbers, "background_score": score, **parameters_of(model), **trained}

    def judge(self, row: Row, seed: int, folder: Path) -> dict[str, Any]:
        """Numbers of the test pictures."""
        if row.name in CONSTANTS:
            return self._judge_constant(row, "test")
        score = _chosen_score(folder)
        found = self._judge(row, self._model_of(row, folder), "test", [score])[score]
        return found | (self._judge_segmenter(folder, "test") if self.budget.segmenter_steps else {})

    def is_judged(self, numbers: Mapping[str, Any]) -> bool:
        """A row that was judged is."""
        return True

    def draw(self, rows: Sequence[tuple[Row, Path]], folder: Path) -> list[dict[str, str]]:
        """Test pictures, what is annotated, and the masks of every row that has a model."""
        images = [image for image in self.splits["test"].images if image.labels]
        places = {round(share * (len(images) - 1)) for share in np.linspace(0.25, 0.75, NUM_PICTURES)}
        chosen = [images[place] for place in sorted(places)]
        rule, panels = mask_rule(self.splits["test"].class_names), []
        for image in chosen:
            picture = open_image(image.path)
            panels.append([(picture, "picture"), (self._paint(picture, read_weak_mask(image, rule)), "annotated")])
        for row, place in rows:
            if row.name in CONSTANTS:
                continue
            rules = _rules(_chosen_score(place))
            with self._localizer(row, self._model_of(row, place), "test") as localizer:
                for image, drawn in zip(chosen, panels):
                    picture = open_image(image.path)
                    found = rules(localizer.attention(image.name), None, rule.num_labels - 1, picture)
                    drawn.append((self._paint(picture, found, legend=()), row.title))
        entries = []
        for number, (image, drawn) in enumerate(zip(chosen, panels), start=1):
            draw_sheet(drawn, PICTURE_WIDTH).save(folder / f"picture_{number}.jpg", quality=80)
            entries.append({"file": f"picture_{number}.jpg", "about": f"{image.path.name}, a test picture"})
        return entries

    # -- what is trained -------------------------------------------------------------------------------------------

    def _train_classifier(self, row: Row, seed: int, folder: Path) -> dict[str, Any]:
        words = ["--config", str(self._write_recipe(row, folder)), *self._training_words(seed, folder / "model")]
        _, seconds = timed(folder, partial(train_classifier, parse_mcis_run(arguments=words), judged=()))
        attended = logged(folder / "model", ATTENDED)
        last = {ATTENDED: attended[-1][1], "attended": attended} if attended else {}
        return {"training_seconds": seconds, "curve": logged(folder / "model", "loss"), **last}

    def _train_segmenter(self, row: Row, seed: int, folder: Path, score: float) -> None:
        """On the pseudo labels of the training pictures."""
        train, maps, labels = self.splits["train"], folder / "maps", folder / "pseudo_labels"
        model, processor = load_mcis(self._model_of(row, folder))
        make_maps(model, processor, train, maps, LocalizationSettings(**RECIPES[row.name].localization), row.name)
        make_labels(LabelMaker(train.class_names, maps, labels, _rules(score)), train)
        words = ["--config", str(folder / "recipe.yaml"), "--pseudo_labels", str(labels)]
        words += self._training_words(seed, folder / "segmenter")
        train_segmenter(parse_segmenter_run(arguments=words))

    def _training_words(self, seed: int, output: Path) -> list[str]:
        words = ["--data_dir", self.data_dir, "--output_dir", str(output), "--seed", str(seed)]
        return [*words, "--resume_from_checkpoint", "auto", "--report_to", "none"]

    def _write_recipe(self, row: Row, folder: Path, score: float | None = None) -> Path:
        train, path = self.splits["train"], folder / "recipe.yaml"
        sections = sections_of(RECIPES[row.name], self.budget, len(train), self._image_size, score)
        write_file(path, yaml.safe_dump(sections, sort_keys=False).encode())
        return path

    def _keep_score(self, row: Row, folder: Path, score: float) -> None:
        """In the model's configuration, where programs and pages look for it; they make no contrastive maps."""
        maps = LocalizationSettings(**RECIPES[row.name].localization)
        if not maps.use_contrastive:
            path = self._model_of(row, folder) / "config.json"
            name = "background_score" if maps.num_references else "single_round_background_score"
            write_json(path, read_json(path, MAX_BYTES) | {name: score})

    @property
    def _image_size(self) -> tuple[int, int]:
        """(width, height) of the first training image."""
        return read_size(self.splits["train"].images[0].path)

    def _model_of(self, row: Row, folder: Path) -> Path:
        """Of a row that builds on another one, that of the same seed."""
        return (folder.parent.parent / BASES.get(row.name, row.name) / folder.name) / "model"

    # -- judging ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _localizer(self, row: Row, place: Path, split: str) -> Generator[Localizer]:
        """What makes the maps of a split's images, which are each other's references."""
        model, processor = load_mcis(place)
        settings = LocalizationSettings(**RECIPES[row.name].localization)
        with Localizer(model, processor, image_group(self.splits[split]), settings) as localizer:
            yield localizer

    def _judge(self, row: Row, place: Path, split: str, scores: Sequence[float]) -> dict[float, dict[str, Any]]:
        """Score of the background -> numbers of the masks that it gives."""
        images = self.splits[split]
        rule = mask_rule(images.class_names)
        judged = {score: PseudoLabelQuality(rule.num_labels) for score in scores}
        rules = {score: _rules(score) for score in scores}
        seconds = 0.0
        with self._localizer(row, place, split) as localizer:
            for image in each_of_share(images.images, f"{row.title}, {split}", " images", True):
                started = time.process_time()
                with judging(image.path, localizer.model):
                    attention = localizer.attention(image.name)
                seconds += time.process_time() - started
                picture, mask = open_image(image.path), read_weak_mask(image, rule)
                for score, quality in judged.items():
                    quality.update([rules[score](attention, None, rule.num_labels - 1, picture)], [mask])
        of_picture = {"seconds_per_picture": seconds / len(images)}
        return {score: scores_of(quality, images.class_names) | of_picture for score, quality in judged.items()}

    def _judge_segmenter(self, folder: Path, split: str) -> dict[str, Any]:
        """A segmenter sees pictures alone, without their labels."""
        kind = "a DeepLab-LargeFOV"
        model, processor = load_model(folder / "segmenter", DeepLabLargeFOVForSemanticSegmentation, kind)
        window: dict[str, Any] = windows_of(self._image_size)
        segmenter = MultiScaleSegmenter(model, processor, scales=(1.0,), flip=False, **window)
        found = evaluate_segmentation(segmenter, self.splits[split], description=f"segmenter, {split}")
        return {f"segmenter_{key}": found[key] for key in ("mean_iou", "per_class_iou")}

    def _judge_constant(self, row: Row, split: str) -> dict[str, Any]:
        images, (_, label_of) = self.splits[split], CONSTANTS[row.name]
        labels = (label_of(image, read_size(image.path)[::-1]) for image in images.images)
        return judge_labels(images.class_names, labels, read_masks(images))

    def _paint(self, picture: Image.Image, labels: np.ndarray, legend: Sequence[int] | None = None) -> Image.Image:
        """Small pictures are enlarged, so that names of classes are smaller than what they name."""
        factor = max(1, round(2 * PICTURE_WIDTH / picture.width))
        large = picture.resize((factor * picture.width, factor * picture.height))
        names = mask_rule(self.splits["test"].class_names).names
        if legend is None:
            legend = sorted({int(one) for one in labels[labels != IGNORED]})
        return draw_labels(large, labels.repeat(factor, axis=0).repeat(factor, axis=1), names, legend=legend)


def _chosen_score(folder: Path) -> float:
    return float(read_json(folder / TRAINING, MAX_BYTES)["background_score"])


def _rules(score: float) -> PseudoLabelSettings:
    return PseudoLabelSettings(**PSEUDO_LABELS, background_score=score)


def read_splits(data_dir: str) -> dict[str, WeakFolder]:
    """Images with labels of training, and with masks of validation and test; all are checked.

    Raises:
        InvalidDataError: a split, an image, a label or a mask is missing or bad.
    """
    splits = {"train": read_weak_training(data_dir)}
    for split, name in JUDGED.items():
        if not (path := weak_list_path(data_dir, name)).exists():
            expected = "a split with masks: a comparison learns from train, chooses by val and is judged by test"
            raise InvalidDataError(path, expected, "nothing there")
        splits[split] = read_weak_split(data_dir, name, with_masks=True)
        require_classes(splits[split], splits["train"].class_names, path)
    check_images([splits["train"]])
    for split, name in JUDGED.items():
        rule = mask_rule(splits[split].class_names)
        if not any(check_label_maps(splits[split].images, rule, f"Checking masks of {name}")):
            raise InvalidDataError(weak_masks_dir(data_dir, name), "masks with pixels that count", f"only {IGNORED}")
    return splits


def weak_task(methods: Sequence[str], data_dir: str, budget: WeakBudget) -> WeakTask:
    """The task of `dense-hf compare` with names of ways from labels to masks.

    Args:
        methods: names of `NAMES`.
        data_dir: a folder that `read_weak_split` reads, with the splits train, val and test.
        budget: what is the same for all.

    Raises:
        InvalidDataError: data that cannot be used.
        ValueError: names that are none, appear twice or lack the row that they build on; a backbone that is none.
    """
    check_methods(methods, NAMES, BASES)
    for name in methods:
        sections_of(RECIPES[name], budget, 1)  # a backbone that is none, or lacks maps
    return WeakTask(methods, data_dir, read_splits(data_dir), budget)
