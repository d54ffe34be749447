"""Make localisation maps of labelled images with a trained MCIS (thesis section 3.3.2). This text is the manual.

    python scripts/make_maps.py --model runs/mcis --data_dir data/VOC2012 --output maps/mcis
    torchrun --standalone --nproc_per_node 4 scripts/make_maps.py ...   # the same files, sooner

--model is a folder or a name on the Hub. --data_dir is PASCAL VOC, or a folder with images/ and labels.csv
(image,labels; several classes are separated by ";"). Every image is compared with others that have the same class. The
defaults are those of the released code; the thesis itself is:

    --use_views false                                      # references only (Table 3.5 varies --num_references)
    --num_references 0                                     # single-round maps, from the image alone

A model that was trained with --extra_sources (scripts/train_mcis.py) gets the same ones here. Their images get maps,
too (section 3.3.2), and may be references of all others, with the affinity matrix of the two domains.

MAPS gets, for each class that an image has, NAME_ID.png: gray, at the size of the image, 255 is the strongest
evidence; settings.json, what the maps are made with; and at the end localization.json, with counts and the names of
images without a class, which get no map. scripts/make_pseudo_labels.py reads them.

Stopped, the same command goes on where it was. A folder whose maps are of another model, other images or other
settings is refused. Every process keeps features of images in memory up to --cache_gb (2 MiB per image as released).
What does not fit is computed again, or, with --cache_folder, read back from temporary files.

With --config FILE, the part "localization" of the file says the same; options on the command line win.
"""

from dataclasses import dataclass, field

from dense_hf.data.weak_source import read_weak_training
from dense_hf.inference.checkpoints import load_mcis
from dense_hf.inference.console import say
from dense_hf.inference.evaluations import weak_split_of
from dense_hf.inference.localization_maps import make_maps
from dense_hf.inference.processes import closes_process_group, one_line_errors, start_processes
from dense_hf.options import parse_part
from dense_hf.training.extra_sources import ExtraSources
from dense_hf.weak_segmentation import LocalizationSettings


@dataclass
class LocalizationArguments:
    """What is localised, and where it goes."""

    model: str = field(metadata={"help": "A trained MCIS, a folder or a name on the Hub."})
    data_dir: str = field(metadata={"help": "The images and their classes."})
    output: str = field(metadata={"help": "A folder for the maps, new or begun by the same command."})
    split: str = field(default="train", metadata={"help": "Of the data."})
    cache_gb: float = field(default=1.0, metadata={"help": "Gigabytes of memory for features, in each process."})
    cache_folder: str | None = field(
        default=None, metadata={"help": "Where features go that do not fit. Default: they are computed again."}
    )
    resume: bool = field(
        default=True, metadata={"help": "Go on with an OUTPUT that was begun; --no_resume refuses one."}
    )
    quiet: bool = field(default=False, metadata={"help": "No progress bar."})

    def __post_init__(self):
        if not self.cache_gb >= 0:
            raise ValueError(f"cache_gb must be at least 0. Received: {self.cache_gb}")


@closes_process_group
@one_line_errors
def main() -> None:
    """Read, localise, write."""
    state = start_processes()
    classes = (LocalizationArguments, ExtraSources, LocalizationSettings)
    arguments, extra, settings = parse_part("localization", classes, __doc__)
    split = weak_split_of(arguments.data_dir, arguments.split)
    images = read_weak_training(arguments.data_dir, extra.sources, split)
    model, processor = load_mcis(arguments.model, state.device)
    summary = make_maps(
        model,
        processor,
        images,
        arguments.output,
        settings,
        arguments.model,
        cache_bytes=int(arguments.cache_gb * 2**30),
        cache_folder=arguments.cache_folder,
        progress=not arguments.quiet,
        resume=arguments.resume,
    )
    if state.is_main_process:
        without = summary["num_images_without_label"]
        remark = f" ({without} have no class and no map)" if without else ""
        say(f"{summary['num_maps']} maps of {summary['num_images']} images are in {arguments.output}{remark}")


if __name__ == "__main__":
    main()
