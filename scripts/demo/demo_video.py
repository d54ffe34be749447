"""Segment a stretch of street video that the bundled checkpoint was not trained on, and say how good that is.

    make demo                                                        # fetches the video, then runs this, too
    python scripts/demo/demo_video.py demo_data/street --output demo_output

The video is real, its labels are PSEUDO labels: nobody drew them, a program did (see dataset_scripts/street_video.py).
The model is a small CFFM that scripts/train_cffm.py trained on the first minute of the same street;
scripts/configs/cffm/street.yaml is its recipe, and `make train-demo-video` repeats it. It goes frame by frame, as a
camera would, and its encoder sees each frame once.

OUTPUT gets street_overlay.mp4, street_overlay.png (a still beside its pseudo labels), and results_video.json: mIoU and
video consistency (VC) of the stretch, in both protocols (see `VideoConsistency`). VC asks whether a label stays, not
whether it is right.

Where Debian's packages could not be had, the folder has another street without labels. The checkpoint has not seen
that street: there is an overlay then, and no number.
"""

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import runs
from PIL import Image
from tqdm.auto import tqdm

import dense_hf  # noqa: F401  AutoConfig knows its models from here on
from dense_hf import InvalidDataError
from dense_hf.data import Video, VideoSet, VideoWriter, open_image, read_video_folder
from dense_hf.data.labels import read_mask
from dense_hf.inference.checkpoints import load_video_model
from dense_hf.inference.video_label_maps import judge_video, segment_video
from dense_hf.metrics import MeanIoU, VideoConsistency
from dense_hf.visualization import draw_labels
from dense_hf.visualization.sheets import draw_sheet

SEEN, UNSEEN = "street", "other_street"
PROTOCOLS = {"released": "annotated", "thesis": "occurring"}  # and the classes that mIoU is the mean over
FPS = Fraction(10)  # of the video
ENLARGED = 2  # times, in the overlay: half a frame is small for a legend
LONGEST_WINDOW = 16


def read_street(folder: Path) -> VideoSet:
    """The street that the checkpoint knows or, if it could not be had, the other one.

    Raises:
        InvalidDataError: if neither is in the folder.
    """
    for name in (SEEN, UNSEEN):
        if (folder / name).is_dir():
            return read_video_folder(folder / name)
    raise InvalidDataError(folder, f"a folder that dataset_scripts/street_video.py made, with {SEEN}/", "none")


def stretch_of(video: Video, first: int, count: int) -> Video:
    """Some consecutive frames as a video of their own.

    Raises:
        ValueError: if the video has not as many, or they are too few for the longest window of VC.
    """
    if first < 0 or count <= LONGEST_WINDOW or first + count > len(video.frames):
        raise ValueError(
            f"the stretch must have more than {LONGEST_WINDOW} frames and lie in the {len(video.frames)} frames of "
            f"{video.video_id}. Received: {count} frames from frame {first} on"
        )
    return Video(video.video_id, video.frames[first : first + count])


def judge(videos: VideoSet, video: Video, maps: dict[int, np.ndarray]) -> dict[str, Any]:
    """mIoU, IoU of each class and VC of label maps by frame number, in both protocols."""
    results: dict[str, Any] = {}
    for protocol, classes in PROTOCOLS.items():
        overlap = MeanIoU(videos.rule.num_labels, classes=classes)
        consistency = VideoConsistency(protocol=protocol)
        judge_video(videos, video, maps, overlap, consistency)
        overlaps, windows = overlap.compute(), consistency.compute()
        results[protocol] = {"mean_iou": overlaps["mean_iou"], "vc8": windows["vc8"], "vc16": windows["vc16"]}
        results["per_class_iou"] = {
            name: None if np.isnan(iou) else iou for name, iou in zip(videos.rule.names, overlaps["per_class_iou"])
        }
    return results


def overlay(
    picture: Image.Image, labels: np.ndarray, names: tuple[str, ...], palette: np.ndarray | None
) -> Image.Image:
    """The frame with its labels, enlarged, with a legend of all classes."""
    size = (ENLARGED * picture.width, ENLARGED * picture.height)
    enlarged = labels.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    return draw_labels(
        picture.resize(size, Image.Resampling.BICUBIC), enlarged, names, palette, 0.4, range(len(names))
    )


def beside_truth(
    videos: VideoSet, video: Video, number: int, found: Image.Image, palette: np.ndarray | None
) -> Image.Image:
    """What was found in a frame beside its pseudo labels; alone, if the frame has none."""
    frame = video.frames[number]
    if frame.mask_path is None:
        return found
    picture = open_image(frame.image_path)
    labels = read_mask(frame.mask_path, picture.size, videos.rule)
    panels = [(overlay(picture, labels, videos.rule.names, palette), "pseudo labels"), (found, "found")]
    return draw_sheet(panels, found.width, columns=2)


def run(options: runs.Namespace) -> runs.Results:
    """Segment, draw and judge; files go to the output.

    Raises:
        InvalidDataError: the video is not there, or broken.
        OSError: there is no checkpoint.
        ValueError: another stretch than the video has, or a checkpoint of something else.
    """
    output, count = options.output, options.frames
    videos = read_street(options.data)
    video = stretch_of(videos.splits["test"][0], options.first, count)
    model, processor = load_video_model(options.model)
    names, palette = videos.rule.names, getattr(model.config, "palette", None)
    palette = None if palette is None else np.array(palette, dtype=np.uint8)
    output.mkdir(parents=True, exist_ok=True)
    size = tuple(ENLARGED * side for side in open_image(video.frames[0].image_path).size)
    maps: dict[int, np.ndarray] = {}
    seconds: list[float] = []
    with VideoWriter(output / "street_overlay.mp4", FPS, size) as writer:
        frames = segment_video(model, processor, videos, video, range(count), {})
        for number, labels, elapsed in tqdm(frames, desc=video.video_id, total=count, unit=" frames"):
            maps[number] = labels
            picture = open_image(video.frames[number].image_path)
            picture = overlay(picture, labels, names, palette)
            writer.write(np.asarray(picture))
            if number == count // 2:
                beside_truth(videos, video, number, picture, palette).save(output / "street_overlay.png")
            seconds += [] if elapsed is None else [elapsed]
    results: dict[str, Any] = {
        "checkpoint": Path(options.model).name,
        "street": videos.directory.name,
        "frames": [video.frames[0].frame_id, video.frames[-1].frame_id],
        "frames_per_second": len(seconds) / sum(seconds),
    }
    return results | ({"labels": "pseudo"} | judge(videos, video, maps) if video.labelled else {"labels": None})


def show(results: dict[str, Any]) -> None:
    """Print a table, or that there is none."""
    first, last = results["frames"]
    print(f"\nframes {first} to {last}, {results['frames_per_second']:.1f} frames/s on this machine")
    if results["labels"] is None:
        print(
            "This is NOT the street that the checkpoint was trained on: Debian's package with that video could not be "
            "had.\nThe checkpoint has never seen this one, the overlay shows what it makes of it, and no label says "
            "how wrong that is."
        )
        return
    print("against pseudo labels (drawn by a program, not by a human), in percent")
    print(f"{'protocol':12s}{'mIoU':>8s}{'VC8':>8s}{'VC16':>8s}")
    for protocol in PROTOCOLS:
        print(f"{protocol:12s}" + "".join(f"{100 * value:8.1f}" for value in results[protocol].values()))
    shares = ((name, iou) for name, iou in results["per_class_iou"].items() if iou is not None)
    print("IoU: " + ", ".join(f"{name} {100 * iou:.1f}" for name, iou in shares))


def main(arguments: list[str] | None = None) -> int:
    """Segment, draw, judge, print; returns the exit status."""
    parser = runs.parser_of(__doc__, "street_video.py", "demo_output")
    parser.add_argument("--first", type=int, default=40, help="First frame of the stretch, of the test frames (40).")
    parser.add_argument("--frames", type=int, default=60, help="Frames of the stretch (default: 60, six seconds).")
    pictures = "street_overlay.mp4, street_overlay.png"
    return runs.run_demo(parser, arguments, "cffm-street", run, show, "results_video.json", pictures)


if __name__ == "__main__":
    sys.exit(main())
