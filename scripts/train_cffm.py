"""Train CFFM (thesis chapter 4). This text is the manual.

Try it, less than a minute on a CPU, with synthetic videos:

    python dataset_scripts/make_miniature_videos.py data/miniature_videos
    python scripts/train_cffm.py --config scripts/configs/cffm/smoke.yaml --output_dir runs/smoke

Train on VSPW (a folder with data/VIDEO/origin/*.jpg, data/VIDEO/mask/*.png, train.txt, val.txt) with the released
recipe: AdamW 6e-5, ten times that for all but the encoder, 160,000 steps of 8 clips of 4 frames. Each row of Tables
4.1 to 4.5 has a file in scripts/configs/cffm/. The published numbers came from 4 GPUs with 2 clips each, and from
encoders with ImageNet weights (the authors' mit_b1.pth, or nvidia/mit-b1 of the Hub):

    accelerate launch --multi_gpu --num_processes 4 scripts/train_cffm.py \\
        --config scripts/configs/cffm/table_4.1_b1.yaml --data_dir data/VSPW_480p --skip_incomplete \\
        --backbone_weights mit_b1.pth --per_device_train_batch_size 2 --output_dir runs/cffm_b1
    accelerate launch scripts/train_cffm.py ...                          # one GPU; where 8 clips do not fit:
        --per_device_train_batch_size 2 --gradient_accumulation_steps 4  # (batch norm then sees 2 clips instead of 8)
    torchrun --standalone --nproc_per_node 2 scripts/train_cffm.py ...   # 2 processes, also on a CPU
                                 (without a GPU, accelerate launch starts one process whatever it is told)

On several GPUs batch norm is synchronized, as released; on CPUs it is not, torch has that for GPUs only.

Options come after the file and win over it; all are listed below, those of transformers.TrainingArguments among them:

    --max_steps 4000 --warmup_steps 100    a shorter run
    --bf16                                 mixed precision (on a CPU together with --use_cpu)
    --gradient_checkpointing               less memory, more time
    --report_to tensorboard                curves (--logging_dir is OUTPUT_DIR/runs)
    --dataloader_num_workers 8             any number gives the same weights
    --eval_strategy steps --eval_steps 4000 --load_best_model_at_end

Stop it at any time and go on. The end is the same bit for bit, on the same machine with the same number of processes
and threads (OMP_NUM_THREADS). Incomplete checkpoints of a killed run are skipped:

    accelerate launch scripts/train_cffm.py --config ... --output_dir runs/cffm_b1 --resume_from_checkpoint auto

Upload the result with its card (after `hf auth login`):

    accelerate launch scripts/train_cffm.py --config ... --push_to_hub --hub_model_id your-name/cffm-b1

Your own videos: give them the same layout, with class names in label_num_dic_final.json ({"wall": 1, ...}; 0 and 255
have no label). All masks are read before the first step, and a label that is no class is named with its file.
--model_name_or_path goes on from a trained model. For few videos: --samples_per_video 2000 --frame_cache_size 600.
Frames are tested at the size of VSPW; for others set --scale, --crop_size and --test_scale.

Another backbone than a Mix Transformer: `backbone_config` in the section `model`, of transformers or timm, with maps
at 1/4, 1/8, 1/16 and 1/32 (scripts/configs/camvid/cffm.yaml has EfficientNet-Lite0, whose ImageNet weights are a
pip package). --freeze_backbone keeps its weights. With `num_mining_layers: 0` every frame is segmented alone, which is
SegFormer's decoder on that backbone: the baseline; with `motional_contexts: false` the target is its own reference.
References are worth most when frames are lost: --damage 0.5 lets the model learn what to do then, and --near_clips 0.5
makes half of the clips of stills where frames are far apart.

OUTPUT_DIR gets the model, its processor, README.md (the card) and results.json. evaluate_video.py prints its rows of
the tables.
"""

from dense_hf.inference.processes import closes_process_group, one_line_errors
from dense_hf.training.video.options import parse_video_run
from dense_hf.training.video.run import train_video_model


@closes_process_group
@one_line_errors
def main() -> None:
    """Train with the options of the file and of the command line."""
    train_video_model(parse_video_run("cffm", manual=__doc__))


if __name__ == "__main__":
    main()
