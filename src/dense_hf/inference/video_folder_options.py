"""Where videos are and how they are judged: the options that training and evaluation share."""

from dataclasses import dataclass, field

from ..data.cityscapes_folder import read_cityscapes_folder
from ..data.video_folder import read_video_folder
from ..data.videos import VideoSet

LAYOUTS = ("vspw", "cityscapes", "cityscapes_label_ids")
PROTOCOLS = ("released", "thesis", "dvis_pooled")


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
        metadata={
            "help": "How videos are judged: released (as the published numbers), thesis (as its text) or dvis_pooled "
            "(as the numbers of DVIS++ and VidEoMT, whose mVC16 is larger)."
        },
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

    def ignored_options(self) -> dict[str, str | None]:
        """Name of each option that this layout has no use for to why that is so, see `options.refuse_ignored`."""
        why = None if self.layout == "vspw" else f"layout {self.layout} says it"
        return dict.fromkeys(("class_file", "ignore_zero", "sparse"), why)
