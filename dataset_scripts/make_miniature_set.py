"""Draw a synthetic miniature data set in the layout of IOCfish5K, to try training and evaluation without the real one.

Fish-like shapes on textured scenes, in the colors and texture of their place. The images are synthetic: use them to
see that everything runs and learns, not to compare methods.

    python dataset_scripts/make_miniature_set.py demo_data

Larger, with bigger images and more objects; the first images of each split are those of a smaller set:

    python dataset_scripts/make_miniature_set.py demo_data --train 200 --validation 20 --test 20 \
        --size 640 480 --max_objects 120 --seed 7

All images of exactly 256 x 256, and objects that hide better (the default contrast is 1):

    python dataset_scripts/make_miniature_set.py demo_data --size 256 256 --size_variation 0 --contrast 0.5
"""

import argparse
import sys

from dense_hf.data import generate_miniature_set


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="new or empty folder")
    parser.add_argument("--train", type=int, default=16, help="images for training (default: 16)")
    parser.add_argument("--validation", type=int, default=4, help="images for validation (default: 4)")
    parser.add_argument("--test", type=int, default=4, help="images for the test (default: 4)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(384, 320), metavar=("W", "H"), help="mean size in pixels"
    )
    parser.add_argument("--size_variation", type=float, default=0.2, help="sides vary by this fraction (default: 0.2)")
    parser.add_argument("--max_objects", type=int, default=40, help="most objects of an image (default: 40)")
    parser.add_argument("--contrast", type=float, default=1.0, help="0: invisible; default: 1")
    parser.add_argument("--num_classes", type=int, default=1, help="kinds of objects, up to 3 (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other images (default: 0)")
    options = parser.parse_args(arguments)
    try:
        generate_miniature_set(
            options.output,
            num_train=options.train,
            num_validation=options.validation,
            num_test=options.test,
            seed=options.seed,
            image_size=tuple(options.size),
            size_variation=options.size_variation,
            max_objects=options.max_objects,
            contrast=options.contrast,
            num_classes=options.num_classes,
        )
    except ValueError as error:
        parser.error(str(error))
    print(f"A synthetic set is in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
