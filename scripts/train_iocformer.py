"""Train IOCFormer or CLTR (thesis chapter 2). This text is the manual.

Try it, less than a minute on a CPU, with synthetic images:

    python -c "from dense_hf.data import generate_miniature_set; generate_miniature_set('data/miniature')"
    python scripts/train_iocformer.py --config scripts/configs/iocformer/smoke.yaml --output_dir runs/smoke

Train on IOCfish5K (a folder with images/, annotations/, train_id.txt, val_id.txt, test_id.txt) with the released
recipe: Adam 1e-5, 1500 epochs, validation every 20 epochs from epoch 1200 on, the best weights by MAE at the end.
Each row of Tables 2.5 and 2.6 has a file in scripts/configs/iocformer/. The published numbers came from 4 GPUs with
8 images each, and from a backbone with torchvision's ImageNet weights (V1):

    accelerate launch scripts/train_iocformer.py --config scripts/configs/iocformer/table_2.5_iocformer.yaml \
        --data_dir data/iocfish5k --backbone_weights resnet50.pth --output_dir runs/iocformer
    accelerate launch --multi_gpu --num_processes 4 scripts/train_iocformer.py ...   # 4 GPUs
    torchrun --standalone --nproc_per_node 2 scripts/train_iocformer.py ...          # 2 processes, also on a CPU
                                     (without a GPU, accelerate launch starts one process whatever it is told)

Options come after the file and win over it; --help lists all, those of transformers.TrainingArguments among them:

    --bf16                             mixed precision (on a CPU together with --use_cpu)
    --gradient_checkpointing           less memory, more time
    --report_to tensorboard            curves (--logging_dir is OUTPUT_DIR/runs)
    --dataloader_num_workers 4         any number gives the same weights
    --per_device_train_batch_size 4 --gradient_accumulation_steps 2

Stop it at any time and go on. The end is the same bit for bit, on the same machine with the same number of processes
and threads (OMP_NUM_THREADS). Incomplete checkpoints of a killed run are skipped:

    accelerate launch scripts/train_iocformer.py --config ... --output_dir runs/iocformer --resume_from_checkpoint auto

Upload the result with its card (after `hf auth login`):

    accelerate launch scripts/train_iocformer.py --config ... --push_to_hub --hub_model_id your-name/iocformer

Your own images: the same layout, or what an annotation tool has exported (`dense-hf annotations --help` lists the
formats); `--model_name_or_path` goes on from a trained model:

    ... --data_dir export.json --images_dir photos --validation 0.2 --test 0.2
    ... --data_dir train.xml --validation_data val.xml --images_dir photos

For a few large aerial images: --samples_per_image 64 --image_cache_size 4 --vertical_flip 0.5 --rotation 0.75.

OUTPUT_DIR gets the model, its processor, README.md (the card) and results.json.
"""

from dense_hf.inference.processes import closes_process_group, one_line_errors
from dense_hf.training.counting.options import parse_counting_run
from dense_hf.training.counting.run import train_counter


@closes_process_group
@one_line_errors
def main() -> None:
    """Train with the options of the file and of the command line."""
    train_counter(parse_counting_run("iocformer", manual=__doc__))


if __name__ == "__main__":
    main()
