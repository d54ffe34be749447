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

from dense_hf.inference.processes import closes_process_group, one_line_errors
from dense_hf.training.affinity.options import parse_affinity_run
from dense_hf.training.affinity.run import train_affinity_net


@closes_process_group
@one_line_errors
def main() -> None:
    """Train with the options of the file and of the command line."""
    train_affinity_net(parse_affinity_run(manual=__doc__))


if __name__ == "__main__":
    main()
