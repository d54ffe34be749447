"""Train CFFM++ on top of a trained CFFM (extension of thesis chapter 4). This text is the manual.

Try it, less than a minute on a CPU, with synthetic videos:

    python dataset_scripts/make_miniature_videos.py data/miniature_videos
    python scripts/train_cffm.py --config scripts/configs/cffm/smoke.yaml --output_dir runs/smoke
    python scripts/train_cffm_plus.py --config scripts/configs/cffm_plus/smoke.yaml --output_dir runs/smoke_plus

Every video gets 100 prototypes first: k-means centres of the features of 10 of its frames. They go to the folder
--prototypes and are not made again when they are there (scripts/make_prototypes.py makes them on their own). Then a
branch learns that attends to them; the CFFM itself does not change any more. Only the target of a clip goes through
the encoder, so a step costs less than one of CFFM.

On VSPW, with the released recipe: AdamW 2e-4, 40,000 steps of 8 clips, 1,500 of warm-up, linear decay:

    accelerate launch --multi_gpu --num_processes 4 scripts/train_cffm_plus.py --model_name_or_path runs/cffm_b1 \\
        --data_dir data/VSPW_480p --skip_incomplete --prototypes prototypes/cffm_b1 \\
        --per_device_train_batch_size 2 --output_dir runs/cffm_plus_b1
    accelerate launch scripts/train_cffm_plus.py ...                          # one GPU

Data and classes are those of the CFFM. --model_name_or_path may also be a CFFM++, to go on from. What train_cffm.py
says about options, about stopping and going on (--resume_from_checkpoint auto), uploading and own videos holds here.

CFFM++ needs the prototypes of a video before its first frame is segmented, so it sees the whole video in advance.

OUTPUT_DIR gets the model, its processor, README.md (the card) and results.json. evaluate_video.py prints its rows of
the tables.
"""

from dense_hf.inference.processes import closes_process_group, one_line_errors
from dense_hf.training.video.cffm_plus import train_cffm_plus
from dense_hf.training.video.options import parse_video_run


@closes_process_group
@one_line_errors
def main() -> None:
    """Train with the options of the file and of the command line."""
    train_cffm_plus(parse_video_run("cffm_plus", manual=__doc__))


if __name__ == "__main__":
    main()
