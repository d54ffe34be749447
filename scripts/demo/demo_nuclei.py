"""Count nuclei in a microscope image that the bundled checkpoint never saw, and show them beside those annotated.

    make demo                                                       # fetches the image, then runs this, too
    python scripts/demo/demo_nuclei.py demo_data/nuclei --output demo_output

The image is real, its 125 nuclei were outlined by people. It is from the same collection as the training images, but
none of them has a part of it (see dataset_scripts/nuclei_picture.py). The model is a small IOCFormer of the dark
images of the 2018 Data Science Bowl, 256 x 256 pixels each: `make train-demo-nuclei` trains it,
scripts/configs/iocformer/nuclei.yaml is its recipe. The nuclei of this image are twice as wide as most that the
model knows: as it is, too few are found; with --scale 0.5 more of them, less exactly.

OUTPUT gets nuclei.png, the annotated and the found points beside each other, and results_nuclei.json: counts, and the
F1 of the points that lie within 6 and 12 pixels of an annotated one.
"""

import sys
from pathlib import Path
from typing import Any

import runs
from PIL import Image

from dense_hf.data.counting_examples import read_examples
from dense_hf.inference.checkpoints import load_counter
from dense_hf.metrics import LocalizationMetrics

DISTANCES = (6, 12)  # pixels of the picture as it is


def evaluate(model_path: str | Path, data: Path, output: Path, scale: float = 1.0) -> dict[str, Any]:
    """Count the image of `data`, made larger or smaller, and draw.

    Raises:
        InvalidDataError: the data set is broken or not there.
        OSError: there is no checkpoint.
    """
    (example,) = read_examples(data, ["test"], progress=False)["test"]
    model, processor = load_counter(model_path)
    image = example.open()
    size = tuple(round(scale * side) for side in image.size)
    result = processor.count_objects(model, image.resize(size, Image.Resampling.LANCZOS))
    output.mkdir(parents=True, exist_ok=True)
    points = result["points"].numpy() / scale
    runs.beside_truth(image, example.points, points).save(output / "nuclei.png")
    found = LocalizationMetrics(DISTANCES).update([points], [example.points]).compute()
    return {
        "checkpoint": Path(model_path).name,
        "annotated": len(example.points),
        "count": result["count"],
        "density_sum": result["density_count"],
        **{f"f1@{distance}": found[f"f1@{distance}"] for distance in DISTANCES},
    }


def show(results: dict[str, Any]) -> None:
    """Print the numbers."""
    print(f"\n{'nuclei, annotated':28s}{results['annotated']:8d}")
    print(f"{'points (count)':28s}{results['count']:8d}")
    print(f"{'density branch (sum)':28s}{results['density_sum']:8.1f}")
    for distance in DISTANCES:
        print(f"{f'F1 of points within {distance} px':28s}{100 * results[f'f1@{distance}']:8.1f} %")


def main(arguments: list[str] | None = None) -> int:
    """Count, compare, draw, print; returns the exit status."""
    parser = runs.parser_of(__doc__, "nuclei_picture.py", "demo_output")
    parser.add_argument("--scale", type=float, default=1.0, help="Of the sides of the image (default: 1).")

    def make(options: runs.Namespace) -> runs.Results:
        if not 0.1 <= options.scale <= 4:
            raise ValueError(f"--scale must be 0.1 to 4. Received: {options.scale}")
        return evaluate(options.model, options.data, options.output, options.scale)

    return runs.run_demo(parser, arguments, "iocformer-nuclei", make, show, "results_nuclei.json", "nuclei.png")


if __name__ == "__main__":
    sys.exit(main())
