"""Make the prototypes of videos that CFFM++ needs: k-means centers of the features of a trained CFFM.

    python scripts/make_prototypes.py --model runs/cffm_b1 --data_dir data/VSPW_480p --output prototypes/cffm_b1
    torchrun --standalone --nproc_per_node 4 scripts/make_prototypes.py ...   # the same files, sooner

--model is a folder or a name on the Hub, of a CFFM or a CFFM++. Of every video of every split 10 frames, spread over
it, go through the encoder; the features of all their pixels are clustered into 100 centers (released). So CFFM++ sees
the whole video before it segments the first frame: it cannot be used on a live stream.

    --splits validation test              only these
    --num_prototypes 50 --seed 1          other prototypes, in a folder of their own

OUTPUT gets a file per video, VIDEO.safetensors, with one tensor "prototypes" [100, 256]. Stopped, the same command
goes on where it was. A folder whose files another model made is refused. scripts/train_cffm_plus.py and
scripts/evaluate_video.py read such a folder (--prototypes), and make what it lacks.
"""

from dataclasses import dataclass, field

from dense_hf.data.video_folder import read_video_folder
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.inference.console import say
from dense_hf.inference.evaluations import split_of
from dense_hf.inference.processes import closes_process_group, one_line_errors, start_processes
from dense_hf.inference.prototype_files import PrototypeMaker, make_prototypes
from dense_hf.options import parse_part


@dataclass
class PrototypeArguments:
    """Of what prototypes are made, and where they go."""

    model: str = field(metadata={"help": "A trained CFFM, a folder or a name on the Hub."})
    data_dir: str = field(metadata={"help": "data/VIDEO/origin and lists of videos, as in VSPW."})
    output: str = field(metadata={"help": "A folder for the files."})
    class_file: str | None = field(
        default=None, metadata={"help": "Class names. Default: label_num_dic_final.json of data_dir."}
    )
    splits: list[str] | None = field(
        default=None, metadata={"help": "train, validation, test. Default: all that have a list."}
    )
    num_prototypes: int | None = field(
        default=None, metadata={"help": "Centers per video. Default: 100, or as CFFM++ has it."}
    )
    num_frames: int | None = field(
        default=None, metadata={"help": "Frames of a video that are clustered. Default: 10, or as CFFM++ has it."}
    )
    seed: int = field(default=0, metadata={"help": "Where k-means starts."})
    skip_incomplete: bool = field(default=False, metadata={"help": "Go on without missing and empty files."})
    quiet: bool = field(default=False, metadata={"help": "No progress bar."})

    def __post_init__(self):
        for name in ("num_prototypes", "num_frames"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1. Received: {value}")


@closes_process_group
@one_line_errors
def main() -> None:
    """Read, cluster, write."""
    state = start_processes()
    (arguments,) = parse_part("prototypes", (PrototypeArguments,), __doc__)
    videos = read_video_folder(arguments.data_dir, arguments.class_file, sparse=True)  # masks are of no use here
    if not arguments.skip_incomplete:
        videos.check_complete()
    splits = [split_of(split, videos.splits.__contains__) for split in arguments.splits or videos.splits]
    if absent := [split for split in splits if split not in videos.splits]:
        raise InvalidDataError(arguments.data_dir, f"videos of {', '.join(absent)}", sorted(videos.splits))
    model, processor = load_video_model(arguments.model, device=state.device)
    if model.config.model_type not in ("cffm", "cffm_plus"):
        raise ValueError(f"{arguments.model} must be a CFFM or a CFFM++. Received: {model.config.model_type}")
    maker = PrototypeMaker.of(
        model,
        processor,
        num_prototypes=arguments.num_prototypes,
        num_frames=arguments.num_frames,
        seed=arguments.seed,
        max_pixels=videos.max_pixels,
    )
    members = [video for split in splits for video in videos.splits[split]]
    make_prototypes(maker, members, arguments.output, progress=not arguments.quiet)
    if state.is_main_process:
        say(f"Prototypes of {sum(bool(video.frames) for video in members)} videos are in {arguments.output}")


if __name__ == "__main__":
    main()
