"""Refine localisation maps by random walks with a trained AffinityNet (thesis section 3.4.4). This text is the manual.

    python scripts/refine_maps.py --model runs/affinity --maps maps/mcis --data_dir data/VOC2012 --output maps/refined
    torchrun --standalone --nproc_per_node 4 scripts/refine_maps.py ...   # the same files, sooner
    python scripts/make_pseudo_labels.py --maps maps/refined --background_score 0.2 --data_dir ... --output ...

--model is what scripts/train_affinity.py has made, --maps what scripts/make_maps.py has made for --data_dir. The
score of a cell of 8 x 8 pixels becomes the mean of its neighbours' scores, weighted by their affinities to the power
of 8, 256 times over (the released code squares a matrix 8 times, with the same result).

A background of constant score, such as the 0.2 of the thesis, does not change in a walk; it is left to
make_pseudo_labels.py. Background that walks itself is the released one of AffinityNet: --background_power 16; where it
wins, all maps are 0, so make_pseudo_labels.py --background_score 0 does not add to it.

REFINED gets, for each class that an image has, NAME_ID.png: gray, at the size of the image, its highest value 255;
settings.json, what the maps are made with; and at the end refinement.json. Stopped, the same command goes on where it
was. A folder whose maps are of another model, other maps, images or settings is refused.

Maps that were made with --extra_sources need the same option here. With --config FILE, the section `walk` of the part
`refinement` of the file says how maps walk; options on the command line win.
"""

from dataclasses import dataclass, field
from pathlib import Path

from dense_hf.data.weak_source import read_weak_training
from dense_hf.inference.checkpoints import load_model
from dense_hf.inference.console import say
from dense_hf.inference.evaluations import weak_split_of
from dense_hf.inference.processes import closes_process_group, one_line_errors, start_processes
from dense_hf.inference.refined_maps import refine_maps
from dense_hf.options import parse_part
from dense_hf.training.affinity.options import PART, known_keys
from dense_hf.training.extra_sources import ExtraSources
from dense_hf.weak_segmentation.modeling_affinity_net import AffinityNetModel
from dense_hf.weak_segmentation.random_walk import RandomWalk


@dataclass
class RefinementArguments:
    """What is refined, and where it goes."""

    model: str = field(metadata={"help": "A trained AffinityNet, a folder or a name on the Hub."})
    maps: str = field(metadata={"help": "A folder of localisation maps."})
    data_dir: str = field(metadata={"help": "The images and their classes."})
    output: str = field(metadata={"help": "A folder for the maps, new or begun by the same command."})
    split: str = field(default="train", metadata={"help": "Of the data."})
    quiet: bool = field(default=False, metadata={"help": "No progress bar."})


@closes_process_group
@one_line_errors
def main() -> None:
    """Read, walk, write."""
    state = start_processes()
    classes = (RefinementArguments, ExtraSources, RandomWalk)
    arguments, extra, walk = parse_part(PART, classes, __doc__, section=("walk", known_keys()))
    split = weak_split_of(arguments.data_dir, arguments.split)
    images = read_weak_training(arguments.data_dir, extra.sources, split)
    model, processor = load_model(arguments.model, AffinityNetModel, "an AffinityNet", state.device)
    summary = refine_maps(
        model,
        processor,
        images,
        Path(arguments.maps),
        Path(arguments.output),
        walk,
        arguments.model,
        progress=not arguments.quiet,
    )
    if state.is_main_process:
        say(f"{summary['num_maps']} maps of {summary['num_images']} images are in {arguments.output}")


if __name__ == "__main__":
    main()
