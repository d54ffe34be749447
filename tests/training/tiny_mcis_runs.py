"""A run of MCIS of a dozen steps in a second: a VGG-16 of 4 to 8 channels on synthetic images of 48 pixels."""

import copy
from pathlib import Path

from transformers import set_seed

from dense_hf.data.weak_source import read_weak_split, read_weak_training
from dense_hf.training.mcis_trainer import MCISArguments, MCISTrainer
from dense_hf.training.weak_augmentation import WeakAugmentation
from dense_hf.training.weak_dataset import WeakTrainingSet, collate_pairs
from dense_hf.weak_segmentation.configuration_mcis import MCISConfig
from dense_hf.weak_segmentation.image_processing_mcis import MCISImageProcessor
from dense_hf.weak_segmentation.modeling_mcis import MCISForImageClassification

MODEL = {"vgg_hidden_sizes": [4, 4, 6, 8], "hidden_size": 8, "contrastive_start_epoch": 1}
DATA = {"image_size": 48, "horizontal_flip": 0.5}
TRAINING = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 3,
    "learning_rate": 1.0e-3,
    "lr_milestones": [2],
    "logging_steps": 1,
    "save_total_limit": 99,
    "disable_tqdm": True,
}


def sections(data_dir: object, **training) -> dict[str, dict]:
    """What a YAML file of a tiny run says."""
    run = {"model": MODEL, "data": {**DATA, "data_dir": str(data_dir)}, "training": {**TRAINING, **training}}
    return copy.deepcopy({"classifier": run})


def tiny_config(**fields) -> MCISConfig:
    return MCISConfig(**{**MODEL, "num_labels": 3, **fields})


def tiny_processor() -> MCISImageProcessor:
    return MCISImageProcessor(size={"height": 48, "width": 48})


def make_mcis_trainer(
    data_dir: Path, output_dir: Path, model_fields=None, extra_sources=(), **arguments
) -> MCISTrainer:
    """What the script builds, without its command line."""
    args = MCISArguments(
        output_dir=str(output_dir),
        **{**TRAINING, "save_strategy": "no", "dataloader_pin_memory": False, **arguments},
    )
    config, processor = tiny_config(**(model_fields or {})), tiny_processor()
    images = read_weak_training(data_dir, extra_sources)
    train_set = WeakTrainingSet(images, processor, config, WeakAugmentation(horizontal_flip=0.5), args.seed)
    set_seed(args.seed)
    return MCISTrainer(
        model=MCISForImageClassification(config),
        args=args,
        train_dataset=train_set,
        train_samples=len(train_set),
        eval_dataset=read_weak_split(data_dir, "val").images,
        data_collator=collate_pairs,
        processor=processor,
    )
