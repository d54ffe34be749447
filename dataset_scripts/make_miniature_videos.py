"""Draw a synthetic miniature video set in the layout of VSPW, to try training and evaluation without the real one.

Discs, squares and triangles move over a textured scene that drifts past; 5 classes. The videos are synthetic: use them
to see that everything runs and learns, not to compare methods.

    python dataset_scripts/make_miniature_videos.py demo_videos

More and longer videos; the first videos of each split are those of a smaller set with the same --frames:

    python dataset_scripts/make_miniature_videos.py demo_videos --train 40 --validation 8 --frames 40 --size 320 240
"""

import argparse
import sys

from dense_hf.data import generate_miniature_videos


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="new or empty folder")
    parser.add_argument("--train", type=int, default=6, help="videos for training (default: 6)")
    parser.add_argument("--validation", type=int, default=2, help="videos for validation (default: 2)")
    parser.add_argument("--test", type=int, default=2, help="videos for the test (default: 2)")
    parser.add_argument("--frames", type=int, default=24, help="frames of a video (default: 24)")
    parser.add_argument("--size", type=int, nargs=2, default=(160, 120), metavar=("W", "H"), help="size in pixels")
    parser.add_argument("--noise", type=float, default=12.0, help="noise of each frame, of 255 levels (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other videos (default: 0)")
    options = parser.parse_args(arguments)
    try:
        generate_miniature_videos(
            options.output,
            num_train=options.train,
            num_validation=options.validation,
            num_test=options.test,
            num_frames=options.frames,
            seed=options.seed,
            frame_size=tuple(options.size),
            noise=options.noise,
        )
    except ValueError as error:
        parser.error(str(error))
    print(f"A synthetic set is in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
