"""Find what images have in common, in the browser: masks from nothing but the name of a class.

    python spaces/weak_labels/app.py                            # in a clone: the bundled model
    python spaces/weak_labels/app.py --model org/mcis --port 7862

Several images of one class come in. For each, the page shows where the classifier looks when it sees the image alone,
where it looks after co-attention with the others, and the mask that this gives (thesis section 3.3.2). On a Space, the
variable WEAK_LABELS_MODEL names the model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from dense_hf.data import WeakFolder, read_labels_csv
from dense_hf.inference.checkpoints import best_device, load_mcis
from dense_hf.spaces import (
    default_model,
    launch,
    number_between,
    page_or_reason,
    read_options,
    read_upload,
    refusals,
    space,
)
from dense_hf.visualization import draw_attention, draw_labels, label_palette
from dense_hf.weak_segmentation import ImageGroup, LocalizationSettings, Localizer, make_pseudo_label
from dense_hf.weak_segmentation.pseudo_labels import IGNORED, default_background_score

CLONE = Path(__file__).resolve().parents[2]
MAX_FILE_SIZE = "20mb"
MAX_IMAGES = 12
REFERENCES, BACKGROUND_SCORES = (1, 5), (0.1, 0.9)  # from, to
MAX_PIXELS = 4_000_000
SHOWN_SIDE = 480  # pixels of the longer side of a picture on the page

INTRODUCTION = """# Masks from class names
Upload several images that show the same kind of thing and say what it is. No outline was ever drawn for the model: it
knows which classes are in an image, and finds where they are by what images have **in common**.
"""


def example_images(class_names: Sequence[str]) -> dict[str, list[str]]:
    """Class -> files that show it, where dataset_scripts/weak_crops.py made them; elsewhere there are none."""
    folder = CLONE / "demo_data" / "weak_crops" / "test"
    if not folder.is_dir():
        return {}
    crops: WeakFolder = read_labels_csv(folder / "labels.csv", folder / "images")
    examples = {}
    for class_id, name in enumerate(crops.class_names):
        files = [str(image.path) for image in crops.images if image.labels == (class_id,)]
        if files and name in class_names:
            examples[name] = files[:: max(1, len(files) // 6)][:6]  # neighbours are of the same place
    return examples


def build(model: str) -> gr.Blocks:
    """The page.

    Args:
        model: folder of a checkpoint, or its name on the Hub.

    Raises:
        InvalidDataError: there is no such model, it is another kind, or it is incomplete or damaged.
    """
    classifier, processor = load_mcis(model, best_device())
    id2label = classifier.config.id2label
    class_names = [id2label[class_id] for class_id in range(len(id2label))]

    def look(
        gallery: list[tuple[str, str | None]] | None,
        class_name: str,
        references: int,
        background_score: float,
        score_alone: float,
        progress=gr.Progress(),  # noqa: B008
    ):
        """Maps and masks of all images, and how large the masks are."""
        with refusals():
            class_id = class_names.index(class_name)
            num_references = int(number_between(references, *REFERENCES))
            scores = [number_between(score, *BACKGROUND_SCORES) for score in (score_alone, background_score)]

        def mask_of(attention: dict[int, np.ndarray], score: float) -> np.ndarray:
            return make_pseudo_label(attention, None, len(class_names), background_score=score)

        paths = {f"{number}. {Path(path).name}": path for number, (path, _) in enumerate(gallery or (), start=1)}
        pictures, rows = [], []
        with refusals():
            if not 2 <= len(paths) <= MAX_IMAGES:
                raise ValueError(f"Choose 2 to {MAX_IMAGES} images of one class. Received: {len(paths)}")
            group = ImageGroup({name: [class_id] for name in paths}, lambda name: read_upload(paths[name], MAX_PIXELS))
            alone = Localizer(classifier, processor, group, LocalizationSettings(num_references=0))
            together = Localizer(classifier, processor, group, LocalizationSettings(num_references=num_references))
            with alone, together:
                for name in progress.tqdm(paths, unit="images"):
                    image = group.read_image(name)
                    before, after = alone.attention(name), together.attention(name)
                    masks = [mask_of(attention, score) for attention, score in zip((before, after), scores)]
                    shares = [round(100 * float(np.isin(mask, class_id + 1).mean()), 2) for mask in masks]
                    rows.append([name, *shares])
                    drawn = np.where(masks[1] == class_id + 1, class_id, len(class_names))
                    overlay = draw_labels(image, drawn, palette=palette, opacity=0.6)
                    pictures += [
                        (shown(draw_attention(image, before[class_id])), f"{len(rows)}. alone"),
                        (shown(draw_attention(image, after[class_id])), f"{len(rows)}. with the others"),
                        (shown(overlay), f"{len(rows)}. mask, {shares[1]:.1f} %{too_small(masks[1])}"),
                    ]
        return pictures, rows

    palette = label_palette(len(class_names))
    with space("Masks from class names") as app:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                upload = gr.Gallery(
                    label="Images",
                    type="filepath",
                    file_types=["image"],
                    sources=["upload"],
                    interactive=True,
                    columns=3,
                    height=300,
                    object_fit="contain",
                    elem_id="upload",
                )
                gr.Markdown(
                    f"2 to {MAX_IMAGES} images, each of at most {MAX_FILE_SIZE[:-2]} MB and "
                    f"{MAX_PIXELS // 10**6} megapixels."
                )
                what = gr.Dropdown(class_names, value=class_names[0], label="They all show", elem_id="class")
                references = gr.Slider(
                    *REFERENCES, 3, step=1, label="References", info="Others that each image is compared with"
                )
                background = slider_of_score(classifier.config, REFERENCES[0], "Background score", "background")
                background_alone = slider_of_score(
                    classifier.config, 0, "Background score, image alone", "background-alone"
                )
                run = gr.Button("Find it", variant="primary", elem_id="run")
                if examples := example_images(class_names):
                    gr.Examples(
                        [[files, name] for name, files in examples.items()],
                        [upload, what],
                        example_labels=[*examples],
                        label="Examples",
                    )
            with gr.Column(scale=3, min_width=360):
                gr.Markdown("Where the model looks, and the mask that this gives")
                results = gr.Gallery(
                    show_label=False,
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    columns=3,
                    height=480,
                    object_fit="contain",
                    elem_id="results",
                )
                shares = gr.Dataframe(
                    headers=["image", "mask in %, alone", "mask in %, co-attention"],
                    label="How much of each image the mask takes",
                    interactive=False,
                    elem_id="shares",
                )
        run.click(look, [upload, what, references, background, background_alone], [results, shares])
    return app


def slider_of_score(config: Any, num_references: int, label: str, elem_id: str) -> gr.Slider:
    """From the score that the model has for such maps on."""
    low, high = BACKGROUND_SCORES
    return gr.Slider(
        low,
        high,
        min(max(round(default_background_score(config, num_references), 2), low), high),
        step=0.05,
        label=label,
        info="A mask is where the evidence is stronger; higher makes it smaller",
        elem_id=elem_id,
    )


def too_small(mask: np.ndarray) -> str:
    """What to say about a mask that decides nothing."""
    return ": too little to decide, try a lower score" if (mask == IGNORED).all() else ""


def shown(picture: Image.Image) -> Image.Image:
    """The picture, as large as the page shows it."""
    scale = SHOWN_SIDE / max(picture.size)
    return picture.resize((round(scale * picture.width), round(scale * picture.height)), Image.Resampling.BICUBIC)


def main(arguments: list[str] | None = None) -> None:
    """Serve the page until Ctrl-C."""
    model = default_model("WEAK_LABELS_MODEL", CLONE / "checkpoints" / "mcis-crops", "org/mcis")
    options = read_options(__doc__, model, arguments)
    page = page_or_reason(build, options.model, "Masks from class names", "WEAK_LABELS_MODEL")
    launch(page, MAX_FILE_SIZE, options.port)


if __name__ == "__main__":
    main()
