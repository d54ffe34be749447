"""A training run of CFFM, MRCFA or their baseline as a YAML file and a command line (see `options.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedConfig
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ...data.cityscapes_folder import read_cityscapes_folder
from ...data.video_folder import read_video_folder
from ...data.videos import VideoSet
from ...methods import METHODS, VideoMethod
from ...options import field_names, parse_training_run, pixel_problems
from .augmentation import ClipAugmentation
from .trainer import VideoTrainingArguments

LAYOUTS = ("vspw", "cityscapes", "cityscapes_label_ids")
PROTOCOLS = ("released", "thesis")


@dataclass
class VideoModelArguments:
    """Where the model comes from. What describes it beyond `backbone` are fields of its configuration, in the file."""

    backbone: str | None = field(
        default=None,
        metadata={"help": "Mix Transformer b0, b1, b2 or b5, with the thesis' values for it. Default: b1."},
    )
    backbone_weights: str | None = field(
        default=None,
        metadata={
            "help": "ImageNet weights of the encoder: the authors' mit_b1.pth, or a folder or name on the Hub "
            "(nvidia/mit-b1). Default: random."
        },
    )
    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "A trained model to go on from, a folder or a name on the Hub. Its classifiers start anew if the "
            "data has another number of classes."
        },
    )

    def __post_init__(self):
        if self.model_name_or_path is not None and (self.backbone or self.backbone_weights):
            raise ValueError(
                "model_name_or_path has its own encoder; leave out backbone and backbone_weights. Received: "
                f"{self.model_name_or_path}, {self.backbone}, {self.backbone_weights}"
            )


@dataclass
class VideoFolderArguments:
    """Where the videos are, and how they are judged.

    Raises:
        ValueError: Values that cannot work.
    """

    data_dir: str | None = field(
        default=None,
        metadata={"help": "A folder in the layout of VSPW: data/VIDEO/{origin,mask}, train.txt, val.txt."},
    )
    layout: str = field(
        default="vspw",
        metadata={"help": "vspw, cityscapes (*_labelTrainIds.png) or cityscapes_label_ids (*_labelIds.png)."},
    )
    class_file: str | None = field(
        default=None, metadata={"help": "Class names. Default: label_num_dic_final.json of data_dir, else VSPW's."}
    )
    ignore_zero: bool = field(
        default=True, metadata={"help": "Number 0 in a mask has no label, k is label k - 1 (VSPW). Else k is label k."}
    )
    sparse: bool = field(default=False, metadata={"help": "Frames may have no mask."})
    skip_incomplete: bool = field(
        default=False, metadata={"help": "Leave out frames that are missing or empty, as VSPW_480p has some."}
    )
    protocol: str = field(
        default="released",
        metadata={"help": "How videos are judged: released (as the published numbers) or thesis (as its text)."},
    )

    def find_problems(self) -> list[str]:
        """What cannot work, one sentence each."""
        return [
            f"{name} must be one of {', '.join(choices)}, received {getattr(self, name)}"
            for name, choices in (("layout", LAYOUTS), ("protocol", PROTOCOLS))
            if getattr(self, name) not in choices
        ]

    def __post_init__(self):
        if problems := self.find_problems():
            raise ValueError("; ".join(problems))

    def read(self) -> VideoSet:
        """The set; no picture is opened.

        Raises:
            InvalidDataError: no such set.
            ValueError: no `data_dir`.
        """
        if self.data_dir is None:
            raise ValueError("data_dir must name a folder of videos (layout says how it is arranged). Received: none")
        if self.layout == "vspw":
            return read_video_folder(self.data_dir, self.class_file, self.ignore_zero, self.sparse)
        return read_cityscapes_folder(self.data_dir, label_ids=self.layout == "cityscapes_label_ids")


@dataclass
class VideoDataArguments(VideoFolderArguments):
    """The videos, and how frames are prepared.

    Raises:
        ValueError: Values that cannot work.
    """

    dataset_name: str | None = field(default=None, metadata={"help": "For the model card. Default: the folder's."})
    samples_per_video: int = field(default=50, metadata={"help": "Clips of each video in an epoch (50 is released)."})
    frame_cache_size: int = field(
        default=0, metadata={"help": "Decoded frames kept in memory per loader process; for few videos."}
    )
    test_scale: list[int] = field(
        default_factory=lambda: [853, 480], metadata={"help": "Long and short side that frames fit when tested."}
    )
    size_divisor: int = field(default=32, metadata={"help": "Tested frames are then resized up to multiples of it."})
    image_mean: list[float] = field(
        default_factory=lambda: list(IMAGENET_DEFAULT_MEAN), metadata={"help": "Of the encoder's weights."}
    )
    image_std: list[float] = field(
        default_factory=lambda: list(IMAGENET_DEFAULT_STD), metadata={"help": "Of the encoder's weights."}
    )

    def find_problems(self) -> list[str]:
        """As in the parent, and what training adds."""
        problems = super().find_problems()
        problems += pixel_problems(self.image_mean, self.image_std)
        problems += [
            f"{name} must be at least {least}, received {getattr(self, name)}"
            for name, least in (("samples_per_video", 1), ("frame_cache_size", 0), ("size_divisor", 1))
            if getattr(self, name) < least
        ]
        if len(self.test_scale) != 2 or min(self.test_scale) < 1:
            problems.append(f"test_scale must be two whole numbers from 1 on, received {self.test_scale}")
        return problems

    @property
    def processor_options(self) -> dict[str, Any]:
        """How frames are prepared when the model is used."""
        return {
            "size": {"longest_edge": max(self.test_scale), "shortest_edge": min(self.test_scale)},
            "size_divisor": self.size_divisor,
            "image_mean": self.image_mean,
            "image_std": self.image_std,
        }


@dataclass
class VideoRun:
    """All that is known about a run before data and weights are read; `sections` is what the file said."""

    method: VideoMethod
    config: PreTrainedConfig
    model: VideoModelArguments
    data: VideoDataArguments
    augmentation: ClipAugmentation
    training: VideoTrainingArguments
    sections: dict[str, dict[str, Any]]


def parse_video_run(method: str, manual: str | None = None, arguments: Sequence[str] | None = None) -> VideoRun:
    """Read `--config FILE` and the options after it, which win over the file.

    Args:
        method: key of `METHODS`.
        manual: what `--help` says before it lists the options.
        arguments: the command line; default is that of the process.

    Raises:
        InvalidDataError: The file has unknown keys or values that the model cannot have.
        ValueError: Values that cannot work.
        SystemExit: Options that do not exist or have values of the wrong type, as argparse does.
    """
    chosen = METHODS[method]
    known_keys = {
        "model": [*chosen.config_keys, *field_names(VideoModelArguments)],
        "data": field_names(VideoDataArguments, ClipAugmentation),
        "training": field_names(chosen.training_class),
    }
    classes = [VideoModelArguments, VideoDataArguments, ClipAugmentation, chosen.training_class]
    parsed = parse_training_run(classes, known_keys, chosen.config_keys, manual, arguments)
    model, data, augmentation, training = parsed.values

    def make_config(**of_config: Any) -> PreTrainedConfig:
        return chosen.make_config(model.backbone or "b1", of_config)

    config = parsed.make_config(chosen.config_class, model.model_name_or_path, make_config)
    return VideoRun(chosen, config, model, data, augmentation, training, parsed.sections)
