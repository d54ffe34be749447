"""Make the prototypes of videos that CFFM++ needs: k-means centres of the features of a trained CFFM.

    python scripts/make_prototypes.py --model runs/cffm_b1 --data_dir data/VSPW_480p --output prototypes/cffm_b1
    torchrun --standalone --nproc_per_node 4 scripts/make_prototypes.py ...   # the same files, sooner

--model is a folder or a name on the Hub, of a CFFM or a CFFM++. Of every video of every split 10 frames, spread over
it, go through the encoder; the features of all their pixels are clustered into 100 centres (released). So CFFM++ sees
the whole video before it segments the first frame: it cannot be used on a live stream.

    --splits validation test              only these
    --num_prototypes 50 --seed 1          other prototypes, in a folder of their own

OUTPUT gets a file per video, VIDEO.safetensors, with one tensor "prototypes" [100, 256]. Stopped, the same command
goes on where it was. A folder whose files another model made is refused. scripts/train_cffm_plus.py and
scripts/evaluate_video.py read such a folder (--prototypes), and make what it lacks.
"""

import argparse
import sys

import torch
from accelerate import PartialState

import dense_hf  # noqa: F401  AutoConfig knows its models from here on
from dense_hf.data.video_folder import VIDEO_LISTS, read_video_folder
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.inference.processes import closes_process_group
from dense_hf.inference.prototype_files import PrototypeMaker, make_prototypes


@closes_process_group
def main() -> None:
    """Read, cluster, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a trained CFFM, a folder or a name on the Hub")
    parser.add_argument("--data_dir", required=True, help="data/VIDEO/origin and lists of videos, as in VSPW")
    parser.add_argument("--class_file", help="class names (default: label_num_dic_final.json of data_dir)")
    parser.add_argument("--output", required=True, help="a folder for the files")
    parser.add_argument("--splits", nargs="+", choices=sorted(VIDEO_LISTS), help="default: all that have a list")
    parser.add_argument("--num_prototypes", type=int, help="centres per video (100, or as CFFM++ has it)")
    parser.add_argument(
        "--num_frames", type=int, help="frames of a video that are clustered (10, or as CFFM++ has it)"
    )
    parser.add_argument("--seed", type=int, default=0, help="where k-means starts (0)")
    parser.add_argument("--skip_incomplete", action="store_true", help="go on without missing and empty files")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    arguments = parser.parse_args()

    # without `cpu`, torchrun on a machine without a GPU starts independent runs instead of one (accelerate 1.15)
    state = PartialState(cpu=not torch.accelerator.is_available())
    try:
        for name in ("num_prototypes", "num_frames"):
            if (value := getattr(arguments, name)) is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1. Received: {value}")
        videos = read_video_folder(arguments.data_dir, arguments.class_file, sparse=True)  # masks are of no use here
        if not arguments.skip_incomplete:
            videos.check_complete()
        splits = arguments.splits or list(videos.splits)
        if absent := [split for split in splits if split not in videos.splits]:
            raise InvalidDataError(arguments.data_dir, f"videos of {', '.join(absent)}", sorted(videos.splits))
        model, processor = load_video_model(arguments.model)
        if model.config.model_type not in ("cffm", "cffm_plus"):
            raise ValueError(f"{arguments.model} must be a CFFM or a CFFM++. Received: {model.config.model_type}")
        maker = PrototypeMaker.of(
            model.to(state.device),
            processor,
            num_prototypes=arguments.num_prototypes,
            num_frames=arguments.num_frames,
            seed=arguments.seed,
            max_pixels=videos.max_pixels,
        )
        members = [video for split in splits for video in videos.splits[split]]
        make_prototypes(maker, members, arguments.output, progress=not arguments.quiet)
    except (InvalidDataError, OSError, ValueError) as error:
        sys.exit(f"make_prototypes.py: {error}")
    if state.is_main_process:
        print(f"Prototypes of {sum(bool(video.frames) for video in members)} videos are in {arguments.output}")


if __name__ == "__main__":
    main()
