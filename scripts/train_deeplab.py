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

import sys
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import PreTrainedModel, set_seed
from transformers.utils import logging

from dense_hf.data.extra_sources import count_extra_images, describe_dataset
from dense_hf.data.weak_folder import WeakFolder
from dense_hf.data.weak_source import is_voc, mask_rule, read_weak_split, read_weak_training
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checks import check_label_maps, with_pseudo_labels
from dense_hf.inference.processes import closes_process_group
from dense_hf.reports.model_card import RunDescription, command_line, write_results
from dense_hf.reports.segmenter import LabelSource, read_label_settings, write_segmenter_card
from dense_hf.training.backbone_weights import load_backbone_weights
from dense_hf.training.resuming import resolve_checkpoint
from dense_hf.training.segmenter.dataset import SegmenterTrainingSet
from dense_hf.training.segmenter.options import SegmenterRun, build_segmenter_processor, parse_segmenter_run
from dense_hf.training.segmenter.trainer import SegmenterTrainer
from dense_hf.weak_segmentation.modeling_deeplab_largefov import DeepLabLargeFOVForSemanticSegmentation

logger = logging.get_logger("dense_hf.train_deeplab")

DRAWN_MASKS = ("SegmentationClass", "SegmentationClassAug", "masks", "train/masks")


@closes_process_group
def main() -> None:
    """Read the configuration, check data and weights, train, write results, model and card."""
    try:
        run = parse_segmenter_run(manual=__doc__)
        logging.set_verbosity(run.training.get_process_log_level())
        checkpoint = resolve_checkpoint(run.training.resume_from_checkpoint, str(run.training.output_dir))
        folders = read_data(run)
        model = build_model(run, folders["train"])
        processor = build_segmenter_processor(run)
        augmentation, cache = run.augmentation, run.data.image_cache_size
        train_set = SegmenterTrainingSet(folders["train"], processor, augmentation, run.training.seed, cache)
        description, labels = describe(run, folders), describe_labels(run)
    except (InvalidDataError, ValueError) as error:
        sys.exit(f"train_deeplab.py: {error}")

    trainer = SegmenterTrainer(
        model=model,
        args=run.training,
        train_dataset=train_set,
        train_samples=len(train_set),
        eval_dataset=folders.get("validation"),
        processor=processor,
        eval_window=run.data.eval_window,
        eval_stride=run.data.eval_stride,
        write_card=partial(write_segmenter_card, run=description, labels=labels),
    )
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    results: dict[str, Any] = {}
    if "validation" in folders:
        metrics = trainer.evaluate(metric_key_prefix="validation")
        results["validation"] = {key.removeprefix("validation_"): value for key, value in metrics.items()}
    results |= {
        "steps": trainer.state.global_step,
        "best_step": trainer.step_of_weights,
        "seed": run.training.seed,
        "labels": "drawn" if labels.drawn else "pseudo",
        "label_source": labels.description,
        "num_training_images": len(folders["train"]),
        "num_extra_images": description.extra_images,
    }
    if trainer.is_world_process_zero():
        write_results(Path(str(run.training.output_dir)), results)
    if run.training.push_to_hub:
        trainer.push_to_hub()
    else:
        trainer.save_model()
        trainer.create_model_card()


def read_data(run: SegmenterRun) -> dict[str, WeakFolder]:
    """Training images with their labels and, for an evaluation, images with masks; all label maps are checked."""
    progress = not run.training.disable_tqdm
    data_dir, labels_dir = str(run.data.data_dir), str(run.data.pseudo_labels)
    folders = {"train": with_pseudo_labels(read_weak_training(data_dir, run.sources), labels_dir, progress)}
    if run.training.eval_strategy != "no":
        judged = read_weak_split(data_dir, run.data.eval_split, with_masks=True)
        if judged.class_names != folders["train"].class_names:
            expected = f"the classes of the training images, {', '.join(folders['train'].class_names)}"
            raise InvalidDataError(f"{data_dir} ({run.data.eval_split})", expected, ", ".join(judged.class_names))
        check_label_maps(judged.images, mask_rule(judged.class_names), "Checking masks", progress)
        folders["validation"] = judged
    return folders


def build_model(run: SegmenterRun, train: WeakFolder) -> PreTrainedModel:
    """Initial weights: a function of the seed, or of the files that the run names. Labels have the data's names."""
    config, training = run.config, run.training
    names = dict(enumerate(mask_rule(train.class_names).names))
    had = config.num_labels
    config.id2label, config.label2id = names, {name: number for number, name in names.items()}
    if config.head == "deeplabv3" and training.per_device_train_batch_size < 2:
        raise ValueError(
            "deeplabv3 trains batch norm of a pooled image and needs a per_device_train_batch_size of at least 2. "
            f"Received: {training.per_device_train_batch_size}"
        )
    set_seed(training.seed)
    if (source := run.model.model_name_or_path) is not None:
        if had != len(names):
            logger.warning(f"The model had {had} labels, the data has {len(names)}: its class layer starts anew")
        return DeepLabLargeFOVForSemanticSegmentation.from_pretrained(
            source, config=config, ignore_mismatched_sizes=had != len(names)
        )
    model = DeepLabLargeFOVForSemanticSegmentation(config)
    if run.model.backbone_weights is not None:
        loaded = load_backbone_weights(model.backbone, backbone_architecture(run), run.model.backbone_weights)
        unused = sorted({".".join(key.split(".")[:2]) for key in loaded.left_out})
        PartialState().print(
            f"Backbone: {loaded.num_loaded} tensors of {loaded.source}; no place for {', '.join(unused) or 'none'}"
        )
    return model


def backbone_architecture(run: SegmenterRun) -> str | None:
    """The network that `backbone_weights` are of; `None` if their names are those of the backbone itself."""
    backbone: Any = run.config.backbone_config
    if backbone is not None:
        return backbone.backbone if backbone.model_type == "timm_backbone" else None
    if run.config.downsample_in_bottleneck:
        logger.warning(
            "torchvision's ResNet-101 halves in 3x3 convolutions: set downsample_in_bottleneck: false for its weights "
            "(true fits weights that were converted from Caffe)"
        )
    return "torchvision:resnet101"


def describe_labels(run: SegmenterRun) -> LabelSource:
    """Pseudo labels, unless they are the data set's own masks or the run says otherwise."""
    labels_dir = Path(str(run.data.pseudo_labels)).resolve()
    own_masks = [Path(str(run.data.data_dir), name).resolve() for name in DRAWN_MASKS]
    drawn = labels_dir in own_masks if run.data.drawn_labels is None else run.data.drawn_labels
    source = run.data.label_source or f"the folder {labels_dir.name}"
    return LabelSource(drawn, source, {} if drawn else read_label_settings(labels_dir))


def describe(run: SegmenterRun, folders: dict[str, WeakFolder]) -> RunDescription:
    """What the card says about this run."""
    name = run.data.dataset_name or Path(str(run.data.data_dir)).resolve().name
    if is_voc(str(run.data.data_dir)) and run.data.dataset_name is None:
        name = "PASCAL VOC 2012"
    return RunDescription(
        title="DeepLab-LargeFOV" if run.config.head == "largefov" else "DeepLabV3",
        command=command_line(sys.argv, run.training.world_size),
        config=run.sections,
        dataset=describe_dataset(name, folders["train"]),
        num_images={split: len(folder) for split, folder in folders.items()},
        processes=run.training.world_size,
        extra_images=count_extra_images(run.sources, folders["train"]),
    )


if __name__ == "__main__":
    main()
