"""Check a download of VSPW, print its statistics, write it as Parquet, publish it on the Hub.

The folder has the layout of the release:

    VSPW_480p/data/VIDEO/origin/*.jpg  data/VIDEO/mask/*.png  train.txt  val.txt  test.txt  label_num_dic_final.json

Check that all 2,806 + 343 + 387 videos with 251,633 frames are there and readable (the exit status is 1 if anything is
missing, empty or broken; every bad file is named and all are counted, and so are gaps in the numbers of frames):

    python dataset_scripts/vspw.py VSPW_480p --num_threads 8

The same for your own videos in that layout. Class names and their numbers in the masks are a JSON file,
{"others": 0, "car": 1, "road": 2}, called label_num_dic_final.json or named with --class_file; number 0 has no label
unless you say --zero_is_a_class, 255 never has one. With --sparse, frames may have no mask:

    python dataset_scripts/vspw.py my_videos --own_data --class_file my_classes.json --sparse

Write Parquet with a dataset card, which `datasets.load_dataset("my_parquet")` reads:

    python dataset_scripts/vspw.py my_videos --own_data --parquet my_parquet --num_proc 4

The released VSPW_480p lacks frames and has empty ones; --skip_incomplete goes on without them:

    python dataset_scripts/vspw.py VSPW_480p --skip_incomplete --parquet vspw_parquet --num_proc 8

Put the Parquet on the Hub as well (log in with `hf auth login` first; you need the right to publish the frames):

    python dataset_scripts/vspw.py my_videos --own_data --parquet my_parquet --push_to_hub me/my_videos --private
"""

import argparse
import sys

from publishing import CardFacts, add_arguments, parse_arguments, publish
from tqdm.auto import tqdm

from dense_hf import InvalidDataError
from dense_hf.data import (
    VSPW,
    VideoSet,
    VideoSummary,
    absent_classes,
    check_videos,
    compare_videos_with_release,
    format_video_statistics,
    numbering_gaps,
    read_video_folder,
)

CARD = CardFacts(
    template="videos.md",
    task="image-segmentation",
    tags=("video-semantic-segmentation",),
    release={
        "title": "VSPW",
        "description": "Video scene parsing in the wild: every frame of real videos with the class of each pixel.",
        "source": (
            "J. Miao, Y. Wei, Y. Wu, C. Liang, G. Li, Y. Yang: VSPW: A Large-scale Dataset for Video Scene Parsing in "
            "the Wild. CVPR 2021. Read the terms of the release before you publish it."
        ),
    },
    own_description="Frames of videos with the class of each pixel.",
)


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; `--help` prints the examples above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder with data/ and the lists of videos")
    parser.add_argument("--class_file", help="JSON file of class names (default: the folder's, then VSPW's names)")
    parser.add_argument("--zero_is_a_class", action="store_true", help="number 0 in a mask is a class, not 'others'")
    parser.add_argument("--sparse", action="store_true", help="frames may have no mask")
    parser.add_argument("--skip_incomplete", action="store_true", help="go on without missing and empty files")
    parser.add_argument("--num_threads", type=int, default=4, help="threads that check files (default: 4)")
    add_arguments(parser)
    options = parse_arguments(parser, arguments)
    if options.num_threads < 1:
        parser.error(f"--num_threads must be at least 1. Received: {options.num_threads}")
    return options


def check(videos: VideoSet, num_threads: int) -> tuple[list[VideoSummary], list[str]]:
    """Decode every frame and mask: what is good, and a sentence for each file that is not."""
    total = sum(len(members) for members in videos.splits.values())
    summaries = check_videos(videos, decode_frames=True, num_threads=num_threads)
    summaries = list(tqdm(summaries, desc="Checking", unit=" videos", total=total, disable=None))
    problems = [problem for summary in summaries for problem in summary.problems]
    return [summary for summary in summaries if summary.num_frames], problems


def make_builder(options: argparse.Namespace, cache: str) -> VSPW:
    """The data set, read as the options say."""
    return VSPW(
        data_dir=options.folder,
        class_file=options.class_file,
        ignore_zero=not options.zero_is_a_class,
        sparse=options.sparse,
        skip_incomplete=options.skip_incomplete,
        cache_dir=cache,
    )


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    options = read_options(arguments)
    try:
        videos = read_video_folder(
            options.folder, options.class_file, not options.zero_is_a_class, sparse=options.sparse
        )
    except InvalidDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    summaries, broken = check(videos, options.num_threads)
    names = videos.rule.names
    statistics = format_video_statistics(summaries, names) if summaries else "No video could be read."
    print(statistics)
    incomplete = list(videos.problems)
    if not options.own_data:
        incomplete += compare_videos_with_release(videos)
    for kind, problems in (("missing or empty", incomplete), ("broken", broken)):
        if problems:
            print("\n".join(["", f"{len(problems)} {kind}:", *problems]), file=sys.stderr)
    if gaps := [gap for members in videos.splits.values() for video in members for gap in numbering_gaps(video)]:
        print("\n".join(["", f"{len(gaps)} gaps in the numbers of frames (for information):", *gaps]))
    if broken or (incomplete and not options.skip_incomplete):
        return 1
    try:
        for split in dict.fromkeys(summary.split for summary in summaries if summary.num_labelled):
            absent_classes(videos, split, (summary for summary in summaries if summary.split == split))
    except InvalidDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    frames = sum(summary.num_frames for summary in summaries)
    print(f"\n{len(summaries):,} videos with {frames:,} frames can be read.")
    return publish(options, lambda cache: make_builder(options, cache), CARD, statistics)


if __name__ == "__main__":
    sys.exit(main())
