"""Count tree crowns on aerial photos that the bundled checkpoint never saw, and say how good that is.

    make demo                                                       # fetches the images, then runs this
    python scripts/demo_counting.py demo_data/trees --output demo_output

The images and their annotations are real (see dataset_scripts/tree_crowns.py). The model is a small IOCFormer that
scripts/train_iocformer.py trained on the same forest; scripts/configs/iocformer/tree_crowns.yaml is its recipe, and
`make train-demo` repeats it. The count is the regression branch's, as in the thesis. The density branch's sum stands
beside it.

The held-out part is judged in squares of 256 pixels: MAE is the mean error of a square's count. Two constants are the
baselines: the density of the training pieces, and the test squares' own mean (the best that any constant can do, and
nothing that a user could know). Then come harder pictures, from forests that the model has never seen.

OUTPUT gets results.json and, for each picture, overlays of the points and of the density.
"""

from pathlib import Path

import numpy as np

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "iocformer-trees"
SQUARE = 256


def per_square(weights: np.ndarray) -> np.ndarray:
    """Sums of [height, width] over whole squares of 256 pixels; a rest at the right and bottom joins no square."""
    rows, columns = weights.shape[0] // SQUARE, weights.shape[1] // SQUARE
    whole = weights[: rows * SQUARE, : columns * SQUARE]
    return whole.reshape(rows, SQUARE, columns, SQUARE).sum(axis=(1, 3)).ravel()


def as_pixels(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """How many points each pixel holds, [height, width]."""
    counts = np.zeros((height, width))
    columns, rows = np.floor(points).astype(int).T if len(points) else np.zeros((2, 0), int)
    np.add.at(counts, (rows.clip(0, height - 1), columns.clip(0, width - 1)), 1)
    return counts
