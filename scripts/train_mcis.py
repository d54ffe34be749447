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

import sys
from functools import partial
from pathlib import Path

from accelerate import PartialState
from transformers import set_seed
from transformers.utils import logging

from dense_hf.data.extra_sources import count_extra_images, describe_dataset
from dense_hf.data.weak_folder import WeakFolder
from dense_hf.data.weak_source import read_weak_evaluation, read_weak_training
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checks import check_images
from dense_hf.inference.processes import closes_process_group
from dense_hf.reports.classifier import write_weak_card
from dense_hf.reports.model_card import RunDescription, command_line, write_results
from dense_hf.training.backbone_weights import load_backbone_weights
from dense_hf.training.classifier.dataset import WeakTrainingSet, collate_pairs
from dense_hf.training.classifier.options import MCISRun, backbone_architecture, parse_mcis_run
from dense_hf.training.classifier.trainer import MCISTrainer
from dense_hf.training.resuming import resolve_checkpoint
from dense_hf.weak_segmentation.image_processing_mcis import MCISImageProcessor
from dense_hf.weak_segmentation.modeling_mcis import MCISForImageClassification

logger = logging.get_logger(__name__)


@closes_process_group
def main() -> None:
    """Read the configuration, check data and weights, train, evaluate, write results and card."""
    try:
        run = parse_mcis_run(manual=__doc__)
        logging.set_verbosity(run.training.get_process_log_level())
        checkpoint = resolve_checkpoint(run.training.resume_from_checkpoint, run.training.output_dir)
        folders = read_data(run)
        model = build_model(run, folders["train"])
        if run.model.freeze_backbone:
            model.backbone.requires_grad_(False)
        processor = build_processor(run)
        train_set = WeakTrainingSet(
            folders["train"],
            processor,
            model.config,
            run.augmentation,
            seed=run.training.seed,
            image_cache_size=run.data.image_cache_size,
        )
    except (InvalidDataError, ValueError) as error:
        sys.exit(f"train_mcis.py: {error}")

    split = run.data.eval_split
    trainer = MCISTrainer(
        model=model,
        args=run.training,
        train_dataset=train_set,
        train_samples=len(train_set),
        eval_dataset=folders[split].images if split in folders else None,
        data_collator=collate_pairs,
        processor=processor,
        write_card=partial(
            write_weak_card,
            run=describe(run, folders),
            class_names=folders["train"].class_names,
            license=run.data.license,
        ),
    )
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except FloatingPointError as error:
        sys.exit(f"train_mcis.py: {error}")

    results: dict[str, object] = {}
    for name in [name for name in folders if name != "train"]:
        metrics = trainer.evaluate(folders[name].images, metric_key_prefix=name)
        results[name] = {key.removeprefix(f"{name}_"): value for key, value in metrics.items()}
    state = trainer.state
    results |= {
        "epochs": state.global_step / trainer.steps_per_epoch,
        "best_epoch": trainer.step_of_weights / trainer.steps_per_epoch,
        "seed": run.training.seed,
    }
    if trainer.is_world_process_zero():
        write_results(Path(run.training.output_dir), results)
    if run.training.push_to_hub:
        trainer.push_to_hub()
    else:
        trainer.save_model()
        trainer.create_model_card()


def read_data(run: MCISRun) -> dict[str, WeakFolder]:
    """The images to train on, and those of the splits to evaluate, if there are any; all headers are checked."""
    if run.data.data_dir is None:
        raise ValueError("data_dir must name a folder of images with labels. Received: none")
    if run.data.eval_split == "train":
        raise ValueError("eval_split must be another split than the one to train on. Received: train")
    folders = {"train": read_weak_training(run.data.data_dir, run.sources)}
    for split in dict.fromkeys((run.data.eval_split, "test")):
        evaluated = read_weak_evaluation(run.data.data_dir, split, folders["train"].class_names)
        if evaluated is not None:
            folders[split] = evaluated
    if run.training.eval_strategy != "no" and run.data.eval_split not in folders:
        expected = f"a split {run.data.eval_split} (or --eval_split NAME, or --eval_strategy no)"
        raise InvalidDataError(run.data.data_dir, expected, "none")
    check_images(list(folders.values()), progress=not run.training.disable_tqdm)
    return folders


def build_model(run: MCISRun, train: WeakFolder) -> MCISForImageClassification:
    """Initial weights: a function of the seed, or of the files that the run names. Labels have the data's names."""
    names = dict(enumerate(train.class_names))
    config = run.config
    had = config.num_labels
    config.id2label, config.label2id = names, {name: number for number, name in names.items()}
    set_seed(run.training.seed)
    if run.model.model_name_or_path is not None:
        if had != len(names):
            logger.warning(f"The model had {had} classes, the data has {len(names)}: its classifiers start anew")
        source = run.model.model_name_or_path
        return MCISForImageClassification.from_pretrained(
            source, config=config, ignore_mismatched_sizes=had != len(names)
        )
    model = MCISForImageClassification(config)
    if run.model.backbone_weights is not None:
        loaded = load_backbone_weights(model.backbone, backbone_architecture(config), run.model.backbone_weights)
        unused = sorted({".".join(key.split(".")[:2]) for key in loaded.left_out})
        PartialState().print(
            f"Backbone: {loaded.num_loaded} tensors of {loaded.source}; no place for {', '.join(unused) or 'none'}"
        )
    return model


def build_processor(run: MCISRun) -> MCISImageProcessor:
    """Size and pixel values, the same in training and inference."""
    return MCISImageProcessor(
        size={"height": run.data.image_size, "width": run.data.image_size},
        image_mean=run.data.image_mean,
        image_std=run.data.image_std,
    )


def describe(run: MCISRun, folders: dict[str, WeakFolder]) -> RunDescription:
    """What the card says about this run."""
    name = run.data.dataset_name or Path(str(run.data.data_dir)).name
    return RunDescription(
        title="MCIS",
        command=command_line(sys.argv, run.training.world_size),
        config=run.sections,
        dataset=describe_dataset(name, folders["train"]),
        num_images={split: len(folder) for split, folder in folders.items()},
        processes=run.training.world_size,
        extra_images=count_extra_images(run.sources, folders["train"]),
    )


if __name__ == "__main__":
    main()
