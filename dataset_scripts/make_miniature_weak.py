"""Draw a synthetic miniature set of images with image-level labels, to try the steps of chapter 3 without a real one.

Discs, squares and triangles, each with its own grain, on textured scenes; some images have none. The images are
synthetic: use them to see that everything runs and learns, not to compare methods.

    python dataset_scripts/make_miniature_weak.py demo_data

Larger; the first images of each split are those of a smaller set:

    python dataset_scripts/make_miniature_weak.py demo_data --train 200 --val 40 --test 40 --size 160 128 --seed 7
"""

import argparse
import sys

from dense_hf.data import generate_miniature_weak


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="new or empty folder")
    parser.add_argument("--train", type=int, default=24, help="images for training (default: 24)")
    parser.add_argument("--val", type=int, default=8, help="images for validation (default: 8)")
    parser.add_argument("--test", type=int, default=8, help="images for the test (default: 8)")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 80), metavar=("W", "H"), help="in pixels")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other images (default: 0)")
    options = parser.parse_args(arguments)
    try:
        generate_miniature_weak(
            options.output,
            num_train=options.train,
            num_validation=options.val,
            num_test=options.test,
            seed=options.seed,
            image_size=tuple(options.size),
        )
    except ValueError as error:
        parser.error(str(error))
    print(f"A synthetic set is in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
