"""Count the objects of a picture in the browser: points, density, and a table of them.

    python spaces/count/app.py                                  # in a clone: the bundled model
    python spaces/count/app.py --model org/iocformer --port 7860

The network runs once per picture. The threshold only chooses among the points that it found, so the slider is quick.
On a Space, the variable COUNT_MODEL names the model.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import torch
from PIL import Image

from dense_hf.counting.count_ranges import add_range, widths_of
from dense_hf.counting.tile_merging import ObjectCount
from dense_hf.data.miniature_set import draw_scene
from dense_hf.inference.appending import csv_bytes
from dense_hf.inference.checkpoints import best_device, load_counter
from dense_hf.inference.class_names import counted_classes
from dense_hf.inference.count_tables import POINT_COLUMNS
from dense_hf.spaces import (
    default_model,
    image_upload,
    launch,
    number_between,
    page_or_reason,
    read_options,
    read_upload,
    refusals,
    saved_download,
    space,
)
from dense_hf.visualization import draw_density, draw_points

CLONE = Path(__file__).resolve().parents[2]
MAX_FILE_SIZE = "20mb"
MAX_PIXELS = 16_000_000
SHOWN_SIDE = 1600  # pixels of the pictures on the page; numbers and the table are those of the whole picture
LOWEST_THRESHOLD, THRESHOLD, HIGHEST_THRESHOLD = 0.1, 0.35, 0.9

INTRODUCTION = """# Count objects
Upload a picture. The model says where it sees an object, and its density branch how many there are.
"""


class Counted(NamedTuple):
    """What the network said about a picture: n points [n, 2] with scores [n], from the lowest threshold on; the counts
    are those of a network without points."""

    name: str
    image: Image.Image
    points: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    count: int
    class_counts: list[int]
    density_count: float | None


def example_pictures(folder: Path) -> dict[str, Path]:
    """Label -> file. A clone that ran `make demo` has photos; everybody else gets a drawing in `folder`."""
    trees = CLONE / "demo_data" / "trees"
    photos = [*trees.glob("same_place/images/held_out.png"), *sorted(trees.glob("other_forests/images/*.png"))]
    if photos:
        return {photo.stem: photo for photo in photos}
    pixels, _ = draw_scene(np.random.default_rng(0), (640, 480), 40, contrast=1.0)
    Image.fromarray(pixels).save(folder / "synthetic.png")
    return {"synthetic (drawn, to try the page)": folder / "synthetic.png"}


def build(model: str) -> gr.Blocks:
    """The page.

    Args:
        model: folder of a checkpoint, or its name on the Hub.

    Raises:
        InvalidDataError: there is no such model, or it is incomplete or damaged.
    """
    counter, processor = load_counter(model, best_device())
    names = counted_classes(counter.config)
    start = getattr(processor, "threshold", THRESHOLD)
    start = start if isinstance(start, float) else THRESHOLD  # one slider, also where each class has a threshold
    # IOCFormer may lack either; of another counter, what it has shows with the first picture
    has_points, has_density = (getattr(counter.config, f"{name}_branch", True) for name in ("regression", "density"))
    by_density = has_points and processor.threshold_for(None) is None
    lowest, about = LOWEST_THRESHOLD, "The least score that counts"
    if by_density:
        lowest, about = 0.0, "The least score that counts, of as many points as the density says"

    def look(path: str | None, progress=gr.Progress()):  # noqa: B008  how Gradio is asked for one
        """Run the network on a picture."""
        with refusals():
            image = read_upload(path, MAX_PIXELS)
            total, done = len(processor.tile_layout(image.height, image.width)), 0

            def advance(tiles: int) -> None:
                nonlocal done
                done += tiles
                progress((done, total), unit="tiles")

            result = processor.count_objects(
                counter,
                image,
                threshold=LOWEST_THRESHOLD if has_points and not by_density else None,
                return_density_map=None,  # if the model has one
                on_batch=advance,
            )
        arrays = result["points"].numpy(), result["scores"].numpy(), result["classes"].numpy()
        counts = result["count"], result["class_counts"], result["density_count"]
        counted = Counted(Path(path).name, image, *arrays, *counts)
        if "density_map" not in result:
            return counted, None, None
        density = draw_density(image, result["density_map"].numpy(), f"density: {result['density_count']:.1f}")
        return counted, f"{result['density_count']:.1f}", shown(density)

    def choose(counted: Counted | None, threshold: float):
        """Points, their number and their table for a threshold; no network."""
        with refusals():
            threshold = number_between(threshold, lowest, HIGHEST_THRESHOLD)
        if counted is None:
            return None, "", None, gr.DownloadButton(interactive=False)
        if not has_points:
            words = range_in_words(counted, None, None, processor)
            return in_words(counted.count, names, counted.class_counts), words, None, gr.DownloadButton()
        sure = counted.scores >= threshold
        points, scores = counted.points[sure], counted.scores[sure]
        picture = draw_points(counted.image, points, f"{len(points)} object{'' if len(points) == 1 else 's'}")
        labels = [(names[number],) if names else () for number in counted.classes[sure].tolist()]
        lines = (
            (counted.name, x, y, score, *label)
            for (x, y), score, label in zip(points.tolist(), scores.tolist(), labels)
        )
        columns = (*POINT_COLUMNS, "label") if names else POINT_COLUMNS
        table = saved_download(download, "points.csv", csv_bytes(columns, lines))
        number = in_words(len(points), names, [labels.count((name,)) for name in names])
        download_table = gr.DownloadButton(value=table, interactive=True)
        words = range_in_words(counted, points, None if by_density and threshold == 0 else threshold, processor)
        return number, words, shown(picture), download_table

    plain = {"show_label": False, "interactive": False, "height": 480, "buttons": ["download", "fullscreen"]}
    with space("Count objects") as app, tempfile.TemporaryDirectory() as folder:
        gr.Markdown(INTRODUCTION)
        state = gr.State(time_to_live=1800)
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                upload = image_upload(label="Picture", height=260, elem_id="upload")
                gr.Markdown(f"At most {MAX_FILE_SIZE[:-2]} MB and {MAX_PIXELS // 10**6} megapixels.")
                run = gr.Button("Count", variant="primary", elem_id="run")
                slider = gr.Slider(
                    lowest,
                    HIGHEST_THRESHOLD,
                    lowest if by_density else min(max(lowest, start), HIGHEST_THRESHOLD),
                    step=0.01,
                    label="Threshold",
                    info=about,
                    visible=has_points,
                    elem_id="threshold",
                )
                examples = example_pictures(Path(folder))
                gr.Examples(
                    [[str(path)] for path in examples.values()], upload, example_labels=[*examples], label="Examples"
                )
            with gr.Column(scale=3, min_width=360):
                with gr.Row(elem_classes="numbers"):
                    counts = "Count (points)" if has_points else "Count (density)"
                    count = gr.Textbox(label=counts, interactive=False, max_lines=1, elem_id="count")
                    density_count = gr.Textbox(
                        label="Density sum",
                        interactive=False,
                        max_lines=1,
                        visible=has_density,
                        elem_id="density_count",
                    )
                count_range = gr.Markdown(elem_id="range")
                with gr.Tabs(selected="points" if has_points else "density"):
                    with gr.Tab("Points", id="points", visible=has_points):
                        points = gr.Image(**plain, elem_id="points")
                    with gr.Tab("Density", id="density", visible=has_density):
                        density = gr.Image(**plain, elem_id="density")
                download = gr.DownloadButton(
                    "Table of the points (CSV)", interactive=False, visible=has_points, elem_id="download"
                )
        chosen = {"fn": choose, "inputs": [state, slider], "outputs": [count, count_range, points, download]}
        run.click(look, upload, [state, density_count, density]).success(**chosen)
        slider.change(**chosen, trigger_mode="always_last", show_progress="hidden")
    return app


def in_words(count: int, names: Sequence[str], of_classes: Sequence[int]) -> str:
    """The count, and of a model with several classes that of each."""
    classes = ", ".join(f"{name} {number}" for name, number in zip(names, of_classes))
    return f"{count} ({classes})" if names else str(count)


def range_in_words(counted: Counted, points: np.ndarray | None, threshold: float | None, processor: Any) -> str:
    """The range around a count, and in what the picture is unlike those of the calibration; "" without one.

    Args:
        counted: what the network said.
        points: those that are counted; None of a network without points.
        threshold: of them, if the page has one; a calibration is for one.
        processor: of the model.
    """
    if (widths := widths_of(processor, None, threshold)) is None:
        return ""
    found = counted.points if points is None else points
    result = ObjectCount(
        count=counted.count if points is None else len(points),
        exact_count=counted.density_count if points is None else float(len(points)),
        has_points=points is not None,
        points=torch.from_numpy(found),
        scores=torch.zeros(len(found)),
        density_count=counted.density_count,
        tile_counts=torch.zeros(0),
        crowded_tiles=0,
        by_density=points is not None and threshold is None,
    )
    add_range(result, processor.to_pixels(counted.image), widths, processor)
    low, high = result["range"]
    lines = [f"Range: **{low} to {high}**, which holds the number in {result['level']:.0%} of such pictures."]
    if result["unlike"]:
        lines.append(f"It may not hold here. Unlike the calibration pictures: {'; '.join(result['unlike'])}.")
    return " ".join(lines)


def shown(picture: Image.Image) -> Image.Image:
    """The picture, not larger than a page needs."""
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return picture


def main(arguments: list[str] | None = None) -> None:
    """Serve the page until Ctrl-C."""
    model = default_model("COUNT_MODEL", CLONE / "checkpoints" / "iocformer-trees", "org/iocformer")
    options = read_options(__doc__, model, arguments)
    page = page_or_reason(build, options.model, "Count objects", "COUNT_MODEL")
    launch(page, MAX_FILE_SIZE, options.port)


if __name__ == "__main__":
    main()
