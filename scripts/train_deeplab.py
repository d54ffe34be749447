"""Train a segmenter, DeepLab-LargeFOV or DeepLabV3, on pseudo labels (thesis sections 3.3.3 and 3.4.4).

This text is the manual. The data is PASCAL VOC 2012, or a folder of your own:

    own/train/images/, own/train/labels.csv          see dense_hf.data.read_labels_csv
    own/val/images/, labels.csv, masks/NAME.png      for evaluation, optional
    LABELS/NAME.png                                  0 background, class id + 1, 255 ignored

    python scripts/train_deeplab.py --config scripts/configs/deeplab/voc.yaml --data_dir data/VOC2012 \\
        --pseudo_labels data/pseudo_labels --backbone_weights resnet101.pth --output_dir runs/deeplab

The default is the released recipe: SGD with momentum 0.9 and weight decay 5e-4, learning rate 1e-3 (times 10 in the
head, times 20 for the bias of the class layer) falling by the poly rule, 16,000 steps of 10 images, crops of 321 from
images scaled by 0.7 to 1.3 and mirrored, frozen batch norm, no evaluation. The ImageNet weights of the released model
are unknown; those of torchvision's resnet101 need `downsample_in_bottleneck: false` and its pixel values, as in
voc.yaml. All of these files say only what they change:

    scripts/configs/deeplab/voc.yaml              the released model with torchvision's weights
    scripts/configs/deeplab/challenge.yaml        DeepLabV3 of the LID challenge
    scripts/configs/deeplab/efficientnet.yaml     a small backbone whose weights come with a pip package

Images without a label file, or with ignored pixels only, are left out; a warning counts them. Labels are checked
before the first step. Labels that were made with --extra_sources (see scripts/train_mcis.py) need the same option
here, so that their images are learned from, too (sections 3.4.2 and 3.4.3). The masks of the data set in place of
pseudo labels give the fully supervised upper bound:

    python scripts/train_deeplab.py --config ... --pseudo_labels data/VOC2012/SegmentationClass --output_dir runs/upper

Options come after the file and win over it; --help lists all, those of transformers.TrainingArguments among them:

    --eval_strategy steps --eval_steps 1000        mean IoU on the split val (--eval_split), single-scale
    --per_device_train_batch_size 2 --gradient_accumulation_steps 5      less memory, the same recipe
    --bf16                                         mixed precision (on a CPU together with --use_cpu)
    --report_to tensorboard --dataloader_num_workers 4
    --crop_size 128 --eval_window 128 --eval_stride 128 --image_cache_size 1000      for small tiles

    torchrun --standalone --nproc_per_node 2 scripts/train_deeplab.py ... --per_device_train_batch_size 5

Stop it at any time and go on with --resume_from_checkpoint auto. The end is the same bit for bit, on the same machine
with the same number of processes and threads (OMP_NUM_THREADS). --push_to_hub --hub_model_id your-name/deeplab uploads
the result with its card (after `hf auth login`).

OUTPUT_DIR gets the model, its processor, README.md (the card) and results.json. For the numbers of the thesis, with
several scales and a CRF, go on with scripts/evaluate_segmentation.py.
"""

from dense_hf.inference.processes import closes_process_group, one_line_errors
from dense_hf.training.segmenter.options import parse_segmenter_run
from dense_hf.training.segmenter.run import train_segmenter


@closes_process_group
@one_line_errors
def main() -> None:
    """Train with the options of the file and of the command line."""
    train_segmenter(parse_segmenter_run(manual=__doc__))


if __name__ == "__main__":
    main()
