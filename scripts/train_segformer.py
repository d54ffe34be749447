"""Train SegFormer on clips: the baseline of CFFM and MRCFA (thesis Tables 4.1 and 5.6). This text is the manual.

    python dataset_scripts/make_miniature_videos.py data/miniature_videos
    python scripts/train_segformer.py --config scripts/configs/segformer/smoke.yaml --output_dir runs/smoke

    accelerate launch --multi_gpu --num_processes 4 scripts/train_segformer.py \\
        --config scripts/configs/segformer/table_4.1_b1.yaml --data_dir data/VSPW_480p --skip_incomplete \\
        --backbone_weights mit_b1.pth --per_device_train_batch_size 2 --output_dir runs/segformer_b1

The authors' baseline sees what CFFM and MRCFA see: the same clips of 4 frames with the same augmentation, 8 of them in
a step, and the same optimizer; its loss is the cross-entropy of all 32 frames. The model is transformers'
SegformerForSemanticSegmentation with 256 features in the decoder for every encoder, so it needs nothing of this
package. (Its layer norms all have an epsilon of 1e-5; those of CFFM's encoder, in blocks and stages, the original
1e-6. Its dropout is that of single values, theirs of whole channels.)

This baseline is for Mix Transformers. On another backbone it is a CFFM without mining layers
(num_mining_layers: 0 of scripts/configs/camvid/cffm.yaml).

`python scripts/train_cffm.py --help` says the rest: several processes, stopping and going on, your own videos, upload.
"""

from dense_hf.inference.processes import closes_process_group, one_line_errors
from dense_hf.training.video.options import parse_video_run
from dense_hf.training.video.run import train_video_model


@closes_process_group
@one_line_errors
def main() -> None:
    """Train with the options of the file and of the command line."""
    train_video_model(parse_video_run("segformer", manual=__doc__))


if __name__ == "__main__":
    main()
