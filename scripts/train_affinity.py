"""Train AffinityNet on localisation maps (thesis section 3.4.4, after Ahn and Kwak, 2018). This text is the manual.

    python scripts/make_maps.py --model runs/mcis --data_dir data/VOC2012 --num_references 0 --output maps/mcis
    python scripts/train_affinity.py --config scripts/configs/mcis/section_3.4.4_challenge.yaml --maps maps/mcis \\
        --data_dir data/VOC2012 --backbone_weights resnet38.pth --output_dir runs/affinity
    python scripts/refine_maps.py --config ... --model runs/affinity --maps maps/mcis --data_dir data/VOC2012 \\
        --output maps/refined

It learns which neighbouring cells of an image belong together, from the places where the maps are certain: there is a
class where one wins against a large background ((1 - highest score)^4) and background where it wins as a small one
(^32), both as a dense CRF sees it. These labels are made first, into OUTPUT_DIR/_certain_labels. That takes seconds
for an image, so use several processes:

    torchrun --standalone --nproc_per_node 4 scripts/train_affinity.py ... --per_device_train_batch_size 2

--backbone_weights is a PyTorch conversion of the published ImageNet weights of ResNet-38 (a .pth with names such as
conv1a.weight and b2.conv_branch2a.weight; the published file itself is MXNet's). Other backbones, in the section
model: `backbone_config: null` is the VGG-16 of MCIS (torchvision's vgg16), and any network of timm with three feature
maps does. Without weights, nothing that frozen batch norms could use is known: set freeze_backbone_batch_norm: false.

Maps that were made with --extra_sources need the same option here, and in the steps behind.

The defaults are the released recipe of AffinityNet: SGD without momentum, learning rate 0.1 (times 10 for all but the
backbone) falling by the poly rule, weight decay 5e-4, 8 epochs of batches of 8 crops of 448 pixels, mirrored and with
other colours at random. docs/challenge_setting.md tells what is as published, and what was decided here.

Options come after the file and win over it; --help lists all, those of transformers.TrainingArguments among them. Stop
it at any time and go on with --resume_from_checkpoint auto: the end is the same bit for bit, on the same machine with
the same number of processes and threads (OMP_NUM_THREADS).

The file's part `refinement` is read. OUTPUT_DIR gets the model, its processor, README.md (the card) and results.json.
"""

import sys
from functools import partial
from pathlib import Path

from accelerate import PartialState
from transformers import set_seed
from transformers.utils import logging

from dense_hf.data.extra_sources import count_extra_images, describe_dataset
from dense_hf.data.weak_folder import WeakFolder
from dense_hf.data.weak_source import read_weak_training
from dense_hf.errors import InvalidDataError
from dense_hf.inference.certain_labels import make_certain_labels
from dense_hf.inference.checks import check_images, with_pseudo_labels
from dense_hf.inference.processes import closes_process_group
from dense_hf.reports.affinity import write_affinity_card
from dense_hf.reports.model_card import RunDescription, command_line, write_results
from dense_hf.training.affinity.dataset import AffinityTrainingSet
from dense_hf.training.affinity.options import AffinityRun, parse_affinity_run
from dense_hf.training.backbone_weights import load_backbone_weights
from dense_hf.training.classifier.options import backbone_architecture
from dense_hf.training.optimizers import SGDTrainer
from dense_hf.training.resuming import resolve_checkpoint
from dense_hf.weak_segmentation.image_processing_affinity_net import AffinityNetImageProcessor
from dense_hf.weak_segmentation.modeling_affinity_net import AffinityNetModel

LABELS = "_certain_labels"  # what begins with _ is not uploaded


@closes_process_group
def main() -> None:
    """Read the configuration, make labels, train, write results, model and card."""
    try:
        run = parse_affinity_run(manual=__doc__)
        output_dir = Path(str(run.training.output_dir))
        logging.set_verbosity(run.training.get_process_log_level())
        checkpoint = resolve_checkpoint(run.training.resume_from_checkpoint, output_dir)
        images = read_data(run, output_dir / LABELS)
        model = build_model(run)
        processor = AffinityNetImageProcessor(image_mean=run.data.image_mean, image_std=run.data.image_std)
        train_set = AffinityTrainingSet(
            images,
            processor,
            run.augmentation,
            model.config.feature_stride,
            seed=run.training.seed,
            image_cache_size=run.data.image_cache_size,
        )
    except (InvalidDataError, ValueError) as error:
        sys.exit(f"train_affinity.py: {error}")

    trainer = SGDTrainer(
        model=model,
        args=run.training,
        lr_factor=run.training.lr_factor,
        train_dataset=train_set,
        train_samples=len(train_set),
        processing_class=processor,
        write_card=partial(write_affinity_card, run=describe(run, images)),
    )
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if trainer.is_world_process_zero():
        results = {
            "epochs": trainer.state.global_step / trainer.steps_per_epoch,
            "seed": run.training.seed,
            "num_training_images": len(images),
        }
        write_results(output_dir, results)
    if run.training.push_to_hub:
        trainer.push_to_hub()
    else:
        trainer.save_model()
        trainer.create_model_card()


def read_data(run: AffinityRun, labels_dir: Path) -> WeakFolder:
    """The images that something can be learned from, with labels that are made if they are not there."""
    progress = not run.training.disable_tqdm
    images = read_weak_training(str(run.data.data_dir), run.sources)
    check_images([images], progress)
    make_certain_labels(images, Path(str(run.data.maps)), labels_dir, run.labels, progress)
    return with_pseudo_labels(images, labels_dir, progress)


def build_model(run: AffinityRun) -> AffinityNetModel:
    """Initial weights: a function of the seed, or of the file that the run names."""
    set_seed(run.training.seed)
    model = AffinityNetModel(run.config)
    if run.model.backbone_weights is not None:
        architecture = backbone_architecture(run.config)
        loaded = load_backbone_weights(model.backbone, architecture, run.model.backbone_weights)
        unused = sorted({".".join(key.split(".")[:2]) for key in loaded.left_out})
        PartialState().print(
            f"Backbone: {loaded.num_loaded} tensors of {loaded.source}; no place for {', '.join(unused) or 'none'}"
        )
    return model


def describe(run: AffinityRun, images: WeakFolder) -> RunDescription:
    """What the card says about this run."""
    name = run.data.dataset_name or Path(str(run.data.data_dir)).resolve().name
    return RunDescription(
        title="AffinityNet",
        command=command_line(sys.argv, run.training.world_size),
        config=run.sections,
        dataset=describe_dataset(name, images),
        num_images={"train": len(images)},
        processes=run.training.world_size,
        extra_images=count_extra_images(run.sources, images),
    )


if __name__ == "__main__":
    main()
