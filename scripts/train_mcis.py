"""Train the classifier of MCIS (thesis chapter 3) on images of which only the classes are known.

This text is the manual. Try it, less than a minute on a CPU, with synthetic images:

    python dataset_scripts/make_miniature_weak.py data/miniature_weak
    python scripts/train_mcis.py --config scripts/configs/mcis/smoke.yaml --output_dir runs/smoke_mcis

PASCAL VOC 2012 (a folder VOC2012 with JPEGImages/ and ImageSets/Segmentation/, there trainaug.txt or train_cls.txt for
the 10,582 images), with the released recipe: pairs that share a class, SGD 1e-3, ten times that for all but the
backbone, dropped after epochs 5 and 10, batches of 5 pairs. The published maps were made after 11 epochs. The backbone
starts from torchvision's vgg16 (IMAGENET1K_V1, a file that you have):

    accelerate launch scripts/train_mcis.py --data_dir data/VOC2012 --backbone_weights vgg16.pth \\
        --num_train_epochs 11 --output_dir runs/mcis
    accelerate launch --multi_gpu --num_processes 5 scripts/train_mcis.py ... --per_device_train_batch_size 1
    torchrun --standalone --nproc_per_node 2 scripts/train_mcis.py ...       # 2 processes, also on a CPU
                                     (without a GPU, accelerate launch starts one process whatever it is told)

scripts/configs/mcis/thesis_text.yaml has the recipe as the thesis' text tells it, which differs from the released one.

Your own images: a folder with images/ and labels.csv (`image,labels`, classes separated by ";"), or train/ and val/
with these. If there is a split of the name --eval_split (val), the classifier is judged by it at the end (by test too,
if there is one), and with --eval_strategy epoch after every epoch; --load_best_model_at_end true then keeps the best.
For a few hundred images: --freeze_backbone --image_cache_size 1000. `--model_name_or_path` goes on from a trained
model.

More images (sections 3.4.2 and 3.4.3): of a folder in the same layout, or of a list with lines `name c1 c2 ...`. With
num_domains=2 in the model section, each pair of domains has its own affinity matrix; without it, all share one. Maps,
pseudo labels and the segmenter are of these images, too: give the scripts of all later steps the same option.

    --extra_sources '{"data_dir": "data/web"}' '{"list": "single.txt", "images_dir": "single", "domain": 1}'

Options come after the file and win over it; --help lists all, those of transformers.TrainingArguments among them:

    --bf16                             mixed precision (on a CPU together with --use_cpu)
    --gradient_checkpointing           less memory, more time
    --report_to tensorboard            curves of the loss and of each of its terms (OUTPUT_DIR/runs)
    --dataloader_num_workers 4         any number gives the same weights
    --load_best_model_at_end true

Stop it at any time and go on. The end is the same bit for bit, on the same machine with the same number of processes
and threads (OMP_NUM_THREADS). Incomplete checkpoints of a killed run are skipped:

    accelerate launch scripts/train_mcis.py --config ... --output_dir runs/mcis --resume_from_checkpoint auto

Upload the result with its card (after `hf auth login`): --push_to_hub --hub_model_id your-name/mcis --license ...

The file may hold the parts of all steps to masks (see dense_hf/options.py); this script reads the part
`classifier`. OUTPUT_DIR gets the model, its processor, README.md (the card) and results.json.
"""

from dense_hf.inference.processes import closes_process_group, one_line_errors
from dense_hf.training.classifier.options import parse_mcis_run
from dense_hf.training.classifier.run import train_classifier


@closes_process_group
@one_line_errors
def main() -> None:
    """Train with the options of the file and of the command line."""
    train_classifier(parse_mcis_run(manual=__doc__))


if __name__ == "__main__":
    main()
