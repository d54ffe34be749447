"""More training images than those of the target set, as one option of every step of chapter 3.

Section 3.4.2 trains "our co-attention classifier and segmentation network" with them, and section 3.3.2 makes pseudo
labels of "all the training samples". So each script from the classifier to the segmenter takes the option, and reads
with `read_weak_training`: the same images, in the same order, of the same domains.
"""

from collections import Counter
from dataclasses import dataclass, field

from ..data.weak_folder import WeakFolder
from ..data.weak_source import WeakSource

EXAMPLE_SOURCE = '{"data_dir": "web", "domain": 1}'


@dataclass
class ExtraSources:
    """The option itself, a group of its own beside the other options of a script."""

    extra_sources: list[str] = field(
        default_factory=list,
        metadata={
            "help": "More training images, a JSON object each: "
            f"{EXAMPLE_SOURCE} or with keys list, images_dir and first_class for a list of `name c1 c2 ...`. The same "
            "in all steps."
        },
    )

    @property
    def sources(self) -> list[WeakSource]:
        """What the option says.

        Raises:
            ValueError: as [`WeakSource.parse`].
        """
        return [WeakSource.parse(text) for text in self.extra_sources]


def count_extra_images(sources: list[WeakSource], images: WeakFolder) -> dict[str, int]:
    """Name of each source to the number of its images, those of sources with the same name together.

    Args:
        sources: what was read.
        images: all images of `read_weak_training`, or some of them.
    """
    counts: Counter[str] = Counter()
    for place, source in enumerate(sources, start=1):
        counts[source.name] += sum(image.source == place for image in images.images)
    return dict(counts)
