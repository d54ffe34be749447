"""Segment a video in the browser: an overlay for every frame, and what each class takes of it over time.

    python spaces/video/app.py                                  # in a clone: the bundled model
    python spaces/video/app.py --model org/cffm-b1 --port 7861

Every frame goes through the network once, in order; the slider shows what is there already. On a Space, the variable
VIDEO_MODEL names the model.
"""

import io
import tempfile
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import tee
from pathlib import Path
from typing import NamedTuple

import gradio as gr
import numpy as np
from PIL import Image

from dense_hf.data import VideoReader, VideoWriter
from dense_hf.data.miniature_videos import draw_video
from dense_hf.inference.checkpoints import load_segmenter
from dense_hf.inference.video_outputs import ShareTable
from dense_hf.spaces import (
    default_model,
    launch,
    number_between,
    page_or_reason,
    read_options,
    refusals,
    saved_download,
    space,
    uploaded,
)
from dense_hf.visualization import draw_labels, draw_timeline, label_palette

CLONE = Path(__file__).resolve().parents[2]
MAX_FILE_SIZE = "100mb"
MAX_FRAMES = 300
MAX_PIXELS = 1920 * 1088  # of a frame; 1080 is no multiple of 16, so some files say 1088
SHOWN_SIDE = 960  # pixels of the longer side of a frame on the page

INTRODUCTION = """# Segment a video
Upload a short video. Every pixel of every frame gets a class; move the slider to look at a frame.
"""


class Segmented(NamedTuple):
    """What is shown of a video of T frames and K classes: overlays as JPEG files, shares [T, K], NaN where damaged."""

    overlays: list[bytes]
    shares: np.ndarray


def example_video(path: Path) -> str:
    """Write a short video and return its label: a stretch that the bundled model has not seen, or a drawing."""
    photos = sorted((CLONE / "demo_data" / "street" / "street" / "data").glob("frames_600_794/origin/*"))[40:100]
    if photos:
        frames = [np.asarray(Image.open(photo).convert("RGB")) for photo in photos]
    else:
        frames = draw_video(np.random.default_rng(0), (320, 240), 40, noise=6.0)[0]
    with VideoWriter(path, Fraction(10), (frames[0].shape[1], frames[0].shape[0])) as writer:
        for frame in frames:
            writer.write(frame)
    return "street, 6 s" if photos else "synthetic (drawn, to try the page)"


def read_frames(video: VideoReader) -> Iterator[np.ndarray | Exception]:
    """The frames of a video that is not too long; an error in the place of a damaged one.

    Raises:
        ValueError: it is too long. The header of the file need not say so, nor the truth.
    """
    message = f"The video has more than {MAX_FRAMES} frames. Please cut it, or use `dense-hf segment` on your machine."
    if (video.num_frames or 0) > MAX_FRAMES:
        raise ValueError(message)
    for number, frame in enumerate(video.with_errors()):
        if number == MAX_FRAMES:
            raise ValueError(message)
        yield frame


def build(model: str) -> gr.Blocks:
    """The page.

    Args:
        model: folder of a checkpoint, or its name on the Hub.

    Raises:
        InvalidDataError: there is no such model, or it is incomplete or damaged.
        ImportError: PyAV is missing (`pip install dense_hf[video]`).
    """
    segmenter = load_segmenter(model)
    config = segmenter.model.config
    names = [config.id2label[label] for label in range(len(config.id2label))]
    palette = np.array(getattr(config, "palette", None) or label_palette(len(names)), dtype=np.uint8)

    def overlay(frame: np.ndarray, labels: np.ndarray) -> bytes:
        """A JPEG file of the frame as large as it is shown, so that the names of the legend can be read."""
        scale = SHOWN_SIDE / max(labels.shape)
        size = (round(scale * labels.shape[1]), round(scale * labels.shape[0]))
        picture = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        enlarged = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        content = io.BytesIO()
        draw_labels(picture, enlarged, names, palette, 0.45).save(content, "JPEG", quality=88)
        return content.getvalue()

    def look(path: str | None, progress=gr.Progress()):  # noqa: B008  how Gradio is asked for one
        """Run the network on all frames."""
        overlays: list[bytes] = []
        shares = []
        with refusals(), tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "shares.csv"
            with (
                VideoReader(uploaded(path, "video"), MAX_PIXELS) as video,
                closing(ShareTable(file, names)) as table,
            ):
                frames, seen = tee(read_frames(video))
                for frame, result in zip(frames, segmenter.segment(seen)):
                    number, labels, found = result["frame"], result["segmentation"], result["class_statistics"]
                    table.write(number, str(number), video.seconds, labels, result.get("error", ""))
                    if labels is None:  # it shows the frame before it
                        overlays.append(overlays[-1] if overlays else b"")
                    else:
                        overlays.append(overlay(frame, labels))
                    shares.append([np.nan if labels is None else found.get(name, 0.0) for name in names])
                    progress((number + 1, video.num_frames), unit="frames")
            content = file.read_bytes()
        segmented = Segmented(overlays, np.array(shares))
        means = np.nanmean(segmented.shares, axis=0)
        rows = [[names[label], round(100 * means[label], 2)] for label in np.argsort(-means) if means[label] > 0]
        return (
            segmented,
            str(len(overlays)),
            rows,
            gr.Slider(maximum=max(1, len(overlays) - 1), value=0, interactive=True),
            gr.DownloadButton(value=saved_download(download, "shares.csv", content), interactive=True),
            *choose(segmented, 0),
        )

    def choose(segmented: Segmented | None, number: float):
        """A frame, and where it is in the video; no network."""
        with refusals():
            number = int(number_between(number, 0, MAX_FRAMES))
        if segmented is None:
            return None, None
        number = min(number, len(segmented.overlays) - 1)
        picture = segmented.overlays[number]
        timeline = draw_timeline(segmented.shares, names, palette, marker=number)
        return Image.open(io.BytesIO(picture)) if picture else None, timeline

    with space("Segment a video") as app, tempfile.TemporaryDirectory() as folder:
        gr.Markdown(INTRODUCTION)
        state = gr.State(time_to_live=1800)
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                upload = gr.Video(label="Video", sources=["upload"], height=260, elem_id="upload")
                gr.Markdown(f"At most {MAX_FILE_SIZE[:-2]} MB, {MAX_FRAMES} frames and 1920 x 1080 pixels.")
                run = gr.Button("Segment", variant="primary", elem_id="run")
                example = Path(folder) / "example.mp4"
                label = example_video(example)
                gr.Examples([[str(example)]], upload, example_labels=[label], label="Example")
                with gr.Row(elem_classes="numbers"):
                    count = gr.Textbox(label="Frames", interactive=False, max_lines=1, elem_id="count")
                shares = gr.Dataframe(
                    headers=["class", "mean share in %"], label="Classes", interactive=False, elem_id="shares"
                )
            with gr.Column(scale=3, min_width=360):
                picture = gr.Image(
                    show_label=False,
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    format="jpeg",
                    height=480,
                    elem_id="overlay",
                )
                slider = gr.Slider(0, 1, 0, step=1, label="Frame", interactive=False, elem_id="frame")
                gr.Markdown("How much of the picture each class takes, over time")
                timeline = gr.Image(show_label=False, interactive=False, buttons=[], format="png", elem_id="timeline")
                download = gr.DownloadButton("Table of the shares (CSV)", interactive=False, elem_id="download")
        run.click(look, upload, [state, count, shares, slider, download, picture, timeline])
        slider.input(choose, [state, slider], [picture, timeline], trigger_mode="always_last", show_progress="hidden")
    return app


def main(arguments: list[str] | None = None) -> None:
    """Serve the page until Ctrl-C."""
    model = default_model("VIDEO_MODEL", CLONE / "checkpoints" / "cffm-street", "org/cffm-b1")
    options = read_options(__doc__, model, arguments)
    page = page_or_reason(build, options.model, "Segment a video", "VIDEO_MODEL")
    launch(page, MAX_FILE_SIZE, options.port)


if __name__ == "__main__":
    main()
