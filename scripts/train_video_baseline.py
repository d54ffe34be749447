"""Train any video model, by its name (thesis chapters 4 and 5 and their baselines). This text is the manual.

    python scripts/train_video_baseline.py --help                          # this text, and the names
    python scripts/train_video_baseline.py --method segformer --help       # all options of one

Try it, less than a minute on a CPU, with synthetic videos:

    python dataset_scripts/make_miniature_videos.py data/miniature_videos
    python scripts/train_video_baseline.py --method segformer --config scripts/configs/segformer/smoke.yaml \\
        --output_dir runs/smoke
    torchrun --standalone --nproc_per_node 2 scripts/train_video_baseline.py ...   # 2 processes, also on a CPU

--method comes from the command line, all else from the file or the command line, which wins: the section `model` has
the fields of the method's configuration, and the recipe that holds without a file is the method's own. All learn from
the same clips, and those that take single frames from all frames of a clip, so that the rows of a table compare models
and nothing else. What train_cffm.py says about options, several processes, stopping and going on
(--resume_from_checkpoint auto), uploading and own videos holds for every method. CFFM++ learns from prototypes, too:
it has train_cffm_plus.py.

A model of your own is its files and a row (`dense_hf.methods.add_method`); a script of three lines that adds the row
and then runs this one trains it. CONTRIBUTING.md tells how.

OUTPUT_DIR gets the model, its processor, README.md (the card) and results.json. evaluate_video.py prints its rows of
the tables.
"""

from dense_hf.inference.processes import closes_process_group, one_line_errors
from dense_hf.methods import VIDEO
from dense_hf.training.run_options import take_method
from dense_hf.training.video.options import parse_video_run
from dense_hf.training.video.run import train_video_model


@closes_process_group
@one_line_errors
def main() -> None:
    """Train with the options of the file and of the command line."""
    method, options = take_method(VIDEO, __doc__)
    train_video_model(parse_video_run(method, manual=__doc__, arguments=options))


if __name__ == "__main__":
    main()
