"""Train MRCFA (thesis chapter 5). This text is the manual.

    python dataset_scripts/make_miniature_videos.py data/miniature_videos
    python scripts/train_mrcfa.py --config scripts/configs/mrcfa/smoke.yaml --output_dir runs/smoke

    accelerate launch --multi_gpu --num_processes 4 scripts/train_mrcfa.py \\
        --config scripts/configs/mrcfa/table_5.6_b1.yaml --data_dir data/VSPW_480p --skip_incomplete \\
        --backbone_weights mit_b1.pth --per_device_train_batch_size 2 --output_dir runs/mrcfa_b1

The recipe is that of CFFM: AdamW 6e-5, ten times that for all but the encoder, 160,000 steps of 8 clips of 4 frames.
The loss adds that of one classifier for each reference frame, which nothing else needs. Rows of Tables 5.1 to 5.6 and
5.9 have files in scripts/configs/mrcfa/.

`python scripts/train_cffm.py --help` says the rest: several processes, stopping and going on, your own videos, upload.
"""

from dense_hf.inference.processes import closes_process_group, one_line_errors
from dense_hf.training.video.options import parse_video_run
from dense_hf.training.video.run import train_video_model


@closes_process_group
@one_line_errors
def main() -> None:
    """Train with the options of the file and of the command line."""
    train_video_model(parse_video_run("mrcfa", manual=__doc__))


if __name__ == "__main__":
    main()
