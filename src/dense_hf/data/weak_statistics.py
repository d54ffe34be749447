"""Numbers of a set with image-level labels, and of the PASCAL VOC 2012 that the thesis used (section 3.4.1)."""

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from statistics import mean

from ..markdown import table
from .weak_folder import WeakFolder
from .weak_set import WeakSet

# VOC's own 1,464 training images and what SBD adds to them; its masks of validation
RELEASED_WEAK_IMAGES = {"train": 10_582, "validation": 1_449}
VOC_OWN_TRAIN = 1_464
_LISTS = {"train": "trainaug.txt or train_cls.txt", "validation": "val.txt"}
_MOST = 4  # labels per image that have a column of their own, the last for all from there on
_TOP_PAIRS = 10


def compare_weak_with_release(images: WeakSet) -> list[str]:
    """One sentence per difference to PASCAL VOC 2012 with the augmented list; empty for the full set.

    Extra images do not count: they are of another domain.
    """
    problems = []
    for split, expected in RELEASED_WEAK_IMAGES.items():
        folder = images.splits.get(split)
        number = sum(not image.domain for image in folder.images) if folder else 0
        if folder is None:
            problems.append(
                f"{split}: no {_LISTS[split]} in ImageSets/Segmentation, so 0 images instead of {expected:,}"
            )
        elif number != expected:
            reason = ""
            if split == "train" and number == VOC_OWN_TRAIN:
                reason = f"; these are VOC's own, the {expected - number:,} of SBD need {_LISTS[split]}"
            name = images.lists[split].name
            problems.append(f"{split}: {name} has {number:,} images instead of {expected:,}{reason}")
    return problems


def format_weak_statistics(images: WeakSet) -> str:
    """Markdown tables: images and labels of each split, images of each class, classes that occur together.

    Below them, the classes of which training has a single image: it can only be paired with itself.
    """
    splits = images.splits
    counts = [*map(str, range(1, _MOST)), f"{_MOST} or more"]
    head = ("split", "images", "with mask", "domains", "labels per image", "no label", *counts)
    overview = table(head, ([split, *_numbers(folder)] for split, folder in splits.items()), "lr")
    per_class = {split: _images_per_class(folder) for split, folder in splits.items()}
    classes = [
        [label, name, *(per_class[split][label] for split in splits)] for label, name in enumerate(images.class_names)
    ]
    parts = [overview, "Images of each class:", table(("id", "class", *splits), classes, "rlr")]
    training = splits.get("train", next(iter(splits.values())))
    pairs = Counter(pair for image in training.images for pair in combinations(image.labels, 2))
    if pairs:
        # as many images: in the order of the classes, so that the table is always the same
        top = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:_TOP_PAIRS]
        rows = [(images.class_names[first], images.class_names[second], number) for (first, second), number in top]
        parts += ["Classes that occur together most often:", table(("class", "with", "images"), rows, "llr")]
    if alone := [name for label, name in enumerate(images.class_names) if _images_per_class(training)[label] == 1]:
        parts.append(f"Classes with a single image to train on: {', '.join(alone)}.")
    return "\n\n".join(parts)


def _numbers(folder: WeakFolder) -> list[object]:
    """The cells of a split, in the order of the columns."""
    per_image = Counter(min(len(image.labels), _MOST) for image in folder.images)
    masks = sum(image.mask_path is not None for image in folder.images)
    domains = ", ".join(str(domain) for domain in sorted({image.domain for image in folder.images}))
    average = f"{mean(len(image.labels) for image in folder.images):.2f}"
    return [len(folder), masks, domains, average, *(per_image[number] for number in range(_MOST + 1))]


def _images_per_class(folder: WeakFolder) -> Mapping[int, int]:
    return Counter(label for image in folder.images for label in image.labels)
