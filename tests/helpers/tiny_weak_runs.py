"""An MCIS that trains in milliseconds, on a synthetic set, as sections of a configuration file and as a trainer."""

import copy

from transformers import set_seed

from dense_hf.data.weak_source import read_weak_evaluation, read_weak_training
from dense_hf.inference.class_scores import evaluate_classification
from dense_hf.training.classifier.augmentation import WeakAugmentation
from dense_hf.training.classifier.dataset import WeakTrainingSet, collate_pairs
from dense_hf.training.classifier.options import MCISTrainingArguments
from dense_hf.training.classifier.trainer import MCISTrainer
from dense_hf.weak_segmentation.configuration_mcis import MCISConfig
from dense_hf.weak_segmentation.image_processing_mcis import MCISImageProcessor
from dense_hf.weak_segmentation.modeling_mcis import MCISForImageClassification

MODEL = {"vgg_hidden_sizes": [4, 6, 8, 8], "hidden_size": 8, "contrastive_start_epoch": 1}
DATA = {"image_size": 32, "horizontal_flip": 0.5}
TRAINING = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 3,
    "lr_milestones": [2],
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": 99,
    "logging_steps": 1,
    "disable_tqdm": True,
}


def sections(data_dir: object, model=None, **training) -> dict[str, dict]:
    """What a YAML file of a tiny run says."""
    part = {
        "model": {**MODEL, **(model or {})},
        "data": {**DATA, "data_dir": str(data_dir)},
        "training": {**TRAINING, **training},
    }
    return {"classifier": copy.deepcopy(part)}


def make_weak_trainer(data_dir, output_dir, model=None, augmentation=None, **arguments) -> MCISTrainer:
    """The trainer of a tiny run."""
    args = MCISTrainingArguments(
        output_dir=str(output_dir), dataloader_pin_memory=False, **{**TRAINING, "report_to": "none", **arguments}
    )
    train = read_weak_training(data_dir)
    config = MCISConfig(num_labels=len(train.class_names), **{**MODEL, **(model or {})})
    processor = MCISImageProcessor(size={"height": 32, "width": 32})
    train_set = WeakTrainingSet(
        train, processor, config, augmentation or WeakAugmentation(horizontal_flip=0.5), seed=args.seed
    )
    evaluated = read_weak_evaluation(data_dir, "val", train.class_names)
    set_seed(args.seed)
    return MCISTrainer(
        model=MCISForImageClassification(config),
        args=args,
        train_dataset=train_set,
        eval_dataset=evaluated.images if evaluated else None,
        data_collator=collate_pairs,
        processing_class=processor,
        judge=lambda model, images, description: evaluate_classification(
            model, processor, images, batch_size=args.eval_batch_size, progress=False, description=description
        ),
    )
