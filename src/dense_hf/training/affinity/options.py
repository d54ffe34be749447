"""The refinement of maps by AffinityNet as a part of a YAML file (see `dense_hf.options`) and a command line.

refinement:
  labels: {}        # fields of CertainLabels: what it learns from      scripts/train_affinity.py
  model: {}         # fields of AffinityNetConfig, and backbone_weights
  data: {}          # pixels and augmentation
  training: {}      # fields of AffinityTrainingArguments
  walk: {}          # fields of RandomWalk                              scripts/refine_maps.py
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers.trainer_utils import SaveStrategy

from ...methods import method_of
from ...options import option
from ...weak_segmentation.affinity_labels import CertainLabels
from ...weak_segmentation.random_walk import RandomWalk
from ..run_options import ImageArguments, ModelArguments, TrainingRun, parse_run, section_keys
from ..sgd_arguments import SGDArguments
from .dataset import AffinityAugmentation

PART = "refinement"
MORE_SECTIONS = {"labels": CertainLabels, "walk": RandomWalk}


@dataclass
class AffinityDataArguments(ImageArguments):
    """The images, their maps, and what becomes of pixels."""

    data_dir: str | None = option(None, "PASCAL VOC 2012, or a folder with images/ and labels.csv.")
    maps: str | None = option(None, "A folder of localisation maps of all training images.")


@dataclass
class AffinityTrainingArguments(SGDArguments):
    """`SGDArguments` whose defaults are the released recipe of AffinityNet: 8 epochs of batches of 8 crops.

    Without momentum: the released optimizer hands its weight decay to SGD as momentum, 5e-4, which is next to none,
    and its learning rate is meant for that.
    """

    per_device_train_batch_size: int = option(8, "Crops per process and step.")
    learning_rate: float = option(0.1, "Of the backbone.")
    momentum: float = option(0.0, "Of SGD.")
    num_train_epochs: float = option(8, "Passes over the training set.")
    save_strategy: SaveStrategy | str = option("epoch", "epoch: by the calendar.")

    def find_problems(self) -> list[str]:
        """As in the parent, and what this recipe adds."""
        problems = super().find_problems()
        if self.eval_strategy != "no":
            problems.append(f"eval_strategy must be no: there is nothing to judge by, received {self.eval_strategy}")
        return problems


def known_keys() -> dict[str, list[str]]:
    """Section to its keys, for scripts/refine_maps.py, which reads another section of the same part."""
    return section_keys(
        method_of("affinity_net"), ModelArguments, AffinityDataArguments, AffinityAugmentation, PART, MORE_SECTIONS
    )


def parse_affinity_run(
    manual: str | None = None, arguments: Sequence[str] | None = None, method: str = "affinity_net"
) -> TrainingRun:
    """Read the part `refinement` of `--config FILE` and the options after it; `more` has the [`CertainLabels`].

    See `run_options.parse_run`.
    """
    classes = (ModelArguments, AffinityDataArguments, AffinityAugmentation)
    run = parse_run(
        method,
        *classes,
        manual=manual,
        arguments=arguments,
        part=PART,
        more_sections={"labels": MORE_SECTIONS["labels"]},
        left_to_others={"walk": MORE_SECTIONS["walk"]},
    )
    for name in ("data_dir", "maps"):
        if getattr(run.data, name) is None:
            raise ValueError(f"{name} must name a folder. Received: none")
    return run
