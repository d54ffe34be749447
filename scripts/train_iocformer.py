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

Your own images: give them the same layout; `--model_name_or_path` goes on from a trained model. For a few large
aerial images: --samples_per_image 64 --image_cache_size 4 --vertical_flip 0.5 --rotation 0.75.

OUTPUT_DIR gets the model, its processor, README.md (the card) and results.json.
"""

import math
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import set_seed
from transformers.utils import logging

from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor
from dense_hf.counting.modeling_iocformer import IOCFormerForObjectCounting
from dense_hf.data.counting_examples import CountingExample, read_examples
from dense_hf.data.point_folder import SPLIT_LISTS
from dense_hf.errors import InvalidDataError
from dense_hf.inference.processes import closes_process_group
from dense_hf.reports.counting import write_counting_card
from dense_hf.reports.model_card import RunDescription, command_line, write_results
from dense_hf.training.backbone_weights import load_backbone_weights
from dense_hf.training.counting.dataset import CountingTrainingSet, collate_crops
from dense_hf.training.counting.options import CountingRun, backbone_architecture, parse_run
from dense_hf.training.counting.trainer import CountingTrainer
from dense_hf.training.resuming import resolve_checkpoint


@closes_process_group
def main() -> None:
    """Read the configuration, check data and weights, train, evaluate the best weights, write results and card."""
    try:
        run = parse_run()
        logging.set_verbosity(run.training.get_process_log_level())
        checkpoint = resolve_checkpoint(run.training.resume_from_checkpoint, run.training.output_dir)
        examples = read_data(run)
        model = build_model(run, examples["train"])
        processor = build_processor(run)
        train_set = CountingTrainingSet(
            examples["train"],
            processor,
            num_queries=run.config.num_queries,
            augmentation=run.augmentation,
            seed=run.training.seed,
            samples_per_image=run.data.samples_per_image,
            image_cache_size=run.data.image_cache_size,
        )
    except (InvalidDataError, ValueError) as error:
        sys.exit(f"train_iocformer.py: {error}")

    description = describe(run, examples)
    trainer = CountingTrainer(
        model=model,
        args=run.training,
        train_dataset=train_set,
        train_samples=len(train_set),
        eval_dataset=examples.get("validation"),
        data_collator=collate_crops,
        processor=processor,
        threshold=run.data.threshold,
        write_card=lambda folder: write_counting_card(folder, description),
    )
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    results: dict[str, object] = {
        split: trainer.evaluate(examples[split], metric_key_prefix=split) for split in examples if split != "train"
    }
    results = {
        split: {key.removeprefix(f"{split}_"): value for key, value in metrics.items()}
        for split, metrics in results.items()
    }
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


def read_data(run: CountingRun) -> dict[str, list[CountingExample]]:
    """Every split that the folder has; training needs the first, validation the second."""
    if run.data.data_dir is None:
        raise ValueError("data_dir must name a folder in the layout of IOCfish5K. Received: none")
    has_list = {split: Path(run.data.data_dir, name).exists() for split, name in SPLIT_LISTS.items()}
    needed = ["train"] if run.training.eval_strategy == "no" else ["train", "validation"]
    splits = [split for split in SPLIT_LISTS if split in needed or has_list[split]]
    show = PartialState().is_main_process and not run.training.disable_tqdm
    return read_examples(run.data.data_dir, splits, progress=show)


def build_model(run: CountingRun, train: list[CountingExample]) -> IOCFormerForObjectCounting:
    """Initial weights: a function of the seed, or of the files that the run names."""
    set_seed(run.training.seed)
    if run.model.model_name_or_path is not None:
        return IOCFormerForObjectCounting.from_pretrained(run.model.model_name_or_path, config=run.config)
    model = IOCFormerForObjectCounting(run.config)
    if run.model.backbone_weights is not None:
        loaded = load_backbone_weights(model.backbone, backbone_architecture(run.config), run.model.backbone_weights)
        unused = sorted({".".join(key.split(".")[:2]) for key in loaded.left_out})
        PartialState().print(
            f"Backbone: {loaded.num_loaded} tensors of {loaded.source}; no place for {', '.join(unused) or 'none'}"
        )
    if run.model.start_at_mean_density:
        if model.density_branch is None:
            raise ValueError("start_at_mean_density needs a density branch. Received: density_branch=False")
        points, pixels = sum(len(item.points) for item in train), sum(math.prod(item.size) for item in train)
        cell_side = feature_stride(model) / 2  # the density map is twice as fine as the features
        model.density_branch.start_at(points / pixels * cell_side**2)
    return model


def feature_stride(model: IOCFormerForObjectCounting) -> float:
    """Pixels of a tile per cell of the feature map, along one side."""
    side = model.config.tile_size
    with torch.no_grad():
        return side / model.backbone(torch.zeros(1, model.config.num_channels, side, side)).feature_maps[-1].shape[-1]


def build_processor(run: CountingRun) -> IOCFormerImageProcessor:
    """Tiles and pixel values, the same in training and inference."""
    return IOCFormerImageProcessor(
        tile_size=run.config.tile_size,
        tile_overlap=run.data.tile_overlap,
        image_mean=run.data.image_mean,
        image_std=run.data.image_std,
    )


def describe(run: CountingRun, examples: dict[str, list[CountingExample]]) -> RunDescription:
    """What the card says about this run."""
    name = run.data.dataset_name or Path(run.data.data_dir).name
    # the names that generate_miniature_set gives; nobody shall take such numbers for measurements
    if all(example.path.name.startswith("synthetic_") for example in examples["train"]) and "synthetic" not in name:
        name += " (synthetic images, drawn by a program)"
    title = "IOCFormer" if run.config.density_branch else "CLTR"
    return RunDescription(
        title=title if run.config.regression_branch else "Density branch of IOCFormer",
        command=command_line(sys.argv, run.training.world_size),
        config=run.sections,
        dataset=name,
        num_images={split: len(items) for split, items in examples.items()},
        processes=run.training.world_size,
    )


if __name__ == "__main__":
    main()
