"""Count tree crowns on aerial photos that the bundled checkpoint never saw, and say how good that is.

    make demo                                                       # fetches the images, then runs this
    python scripts/demo/demo_counting.py demo_data/trees --output demo_output

The images and their annotations are real (see dataset_scripts/tree_crowns.py). The model is a small IOCFormer that
scripts/train_iocformer.py trained on the same forest; scripts/configs/iocformer/tree_crowns.yaml is its recipe, and
`make train-demo` repeats it. The count is that of the points; how many there are, the density branch says, which is
not so in the thesis (`count_by`). The exact sum of that branch stands beside it.

The held-out part is judged in squares of 256 pixels: MAE is the mean error of a square's count. F1 is of points that
are at most 12 pixels from an annotated one, each with its own. Two constants are the baselines: the density of the
training images, and the held-out squares' own mean (the best that a constant can do, and nothing that a user could
know). Then come harder pictures, of forests that the model has never seen.

OUTPUT gets results.json and, for each picture, the annotated and the found points beside each other, and the density.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import runs
from tqdm.auto import tqdm

from dense_hf import IOCFormerForObjectCounting, IOCFormerImageProcessor
from dense_hf.counting.image_processing_iocformer import count_image
from dense_hf.data import PointFolder, open_image, read_points
from dense_hf.metrics.localization import count_matches
from dense_hf.visualization import draw_density

SQUARE = 256  # pixels
DISTANCE = 12  # pixels, from a point to the annotated one that it finds


def per_square(amounts: np.ndarray) -> np.ndarray:
    """Sums of [height, width] over whole squares; what is left at the right and the bottom belongs to none."""
    rows, columns = (side // SQUARE for side in amounts.shape)
    whole = amounts[: rows * SQUARE, : columns * SQUARE]
    return whole.reshape(rows, SQUARE, columns, SQUARE).sum(axis=(1, 3)).ravel()


def points_per_pixel(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """[height, width]; points [n, 2] lie inside."""
    amounts = np.zeros((height, width))
    columns, rows = points.astype(int).T
    np.add.at(amounts, (rows, columns), 1)
    return amounts


def density_of_training(folder: PointFolder) -> float:
    """Objects per pixel over all training images."""
    summaries = [folder.summarize_image("train", image) for image in folder.images("train")]
    return sum(image.count for image in summaries) / sum(image.width * image.height for image in summaries)


def count_folder(
    model: IOCFormerForObjectCounting, processor: IOCFormerImageProcessor, folder: PointFolder, pictures: Path
) -> list[dict[str, Any]]:
    """Counts and errors of each test image, with overlays in `pictures`."""
    rows = []
    for item in folder.images("test"):
        image = open_image(item.image_path)
        annotated = read_points(item.annotation_path, image_size=image.size).points
        with tqdm(total=len(processor.tile_layout(image.height, image.width)), desc=item.image_id, unit="tile") as bar:
            result = count_image(model, processor, image, return_density_map=True, on_batch=bar.update)
        points, density = result["points"].numpy(), result["density_map"].numpy()
        truth = per_square(points_per_pixel(annotated, *image.size))
        name = Path(item.image_id).stem
        runs.beside_truth(image, annotated, points).save(pictures / f"{name}_points.png")
        draw_density(image, density, f"density: {density.sum():.1f}").save(pictures / f"{name}_density.png")
        rows.append(
            {
                "name": name,
                "annotated": len(annotated),
                "count": result["count"],
                "density_sum": float(density.sum()),
                "mae_count": float(np.abs(per_square(points_per_pixel(points, *image.size)) - truth).mean()),
                "mae_density": float(np.abs(per_square(density) - truth).mean()),
                f"f1@{DISTANCE}": 2 * count_matches(points, annotated, DISTANCE) / (len(points) + len(annotated)),
                "squares": truth.astype(int).tolist(),
            }
        )
    return rows


def baselines(row: dict[str, Any], objects_per_pixel: float) -> dict[str, dict[str, float]]:
    """What two constants would have said about the squares of one image."""
    squares = np.array(row["squares"])
    constants = {"train_density": objects_per_pixel * SQUARE**2, "test_mean": squares.mean()}
    return {
        name: {"total": float(value * len(squares)), "mae": float(np.abs(squares - value).mean())}
        for name, value in constants.items()
    }


def evaluate(model_path: str | Path, trees: Path, pictures: Path) -> dict[str, Any]:
    """Counts and errors of one checkpoint on the held-out part and on the other forests, with its baselines.

    Raises:
        InvalidDataError: a data set is broken or not there.
        OSError: there is no checkpoint.
    """
    same_place = PointFolder(trees / "same_place")
    model = IOCFormerForObjectCounting.from_pretrained(model_path).eval()
    processor = IOCFormerImageProcessor.from_pretrained(model_path)
    pictures.mkdir(parents=True, exist_ok=True)
    (held_out,) = count_folder(model, processor, same_place, pictures)
    held_out["baselines"] = baselines(held_out, density_of_training(same_place))
    harder = count_folder(model, processor, PointFolder(trees / "other_forests"), pictures)
    return {"checkpoint": Path(model_path).name, "held_out": held_out, "harder": harder}


def show(results: dict[str, Any]) -> None:
    """Print a table."""
    held_out = results["held_out"]
    print(f"\n{'held-out part':28s}{'trees':>8s}{'MAE per square of 256 pixels':>32s}")
    for name, total, error in (
        ("annotated", held_out["annotated"], ""),
        ("regression branch (count)", held_out["count"], f"{held_out['mae_count']:.2f}"),
        ("density branch (sum)", f"{held_out['density_sum']:.1f}", f"{held_out['mae_density']:.2f}"),
        *(
            (f"constant: {name}", f"{row['total']:.1f}", f"{row['mae']:.2f}")
            for name, row in held_out["baselines"].items()
        ),
    ):
        print(f"{name:28s}{total!s:>8s}{error:>32s}")
    print("\nharder, other forests")
    for row in results["harder"]:
        print(f"{row['name']:28s}annotated {row['annotated']}, count {row['count']}, density {row['density_sum']:.1f}")


def main(arguments: list[str] | None = None) -> int:
    """Count, compare, draw, print; returns the exit status."""
    parser = runs.parser_of(__doc__, "tree_crowns.py", "demo_output")

    def make(options: runs.Namespace) -> runs.Results:
        return evaluate(options.model, options.data, options.output)

    return runs.run_demo(parser, arguments, "iocformer-trees", make, show, "results.json", "pictures")


if __name__ == "__main__":
    sys.exit(main())
