"""Related images, their classes, and which of them are compared (thesis section 3.3.2)."""

import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from transformers.utils import logging

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class ImageGroup:
    """Images that may be each other's references.

    ```python
    group = ImageGroup(labels={"a": [0, 3], "b": [3]}, read_image=lambda name: open_image(f"images/{name}.jpg"))
    ```

    Args:
        labels: name of an image -> ids of the classes that are in it.
        read_image: name -> its picture, opened whenever it is needed.
        domains: name -> where it comes from, for models with `num_domains` above 1; 0 for images it does not name.
    """

    labels: Mapping[str, Sequence[int]]
    read_image: Callable[[str], Image.Image]
    domains: Mapping[str, int] = field(default_factory=dict)
    _members: dict[int, list[str]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        members = defaultdict(list)
        for name in sorted(self.labels):  # samples must not depend on the order in which images are listed
            for class_id in set(self.labels[name]):
                members[class_id].append(name)
        self._members.update(members)
        alone = {class_id: names[0] for class_id, names in sorted(members.items()) if len(names) == 1}
        if alone:
            logger.warning("Classes with a single image, which is its own and only reference: %s", alone)

    def members(self, class_id: int) -> list[str]:
        """Names of the images with a class, sorted."""
        return self._members.get(class_id, [])

    def references(
        self, name: str, class_id: int, count: int, with_replacement: bool, allow_self: bool, seed: int
    ) -> list[str]:
        """Images that also show the class: the set R.

        A function of the arguments and of what the group has: the same in any process and order. Without replacement
        there are at most as many as the class has. An image whose class nobody else has is its own reference, even
        without `allow_self`.
        """
        candidates = self.members(class_id)
        if not allow_self and len(candidates) > 1:
            candidates = [other for other in candidates if other != name]
        return _draw(candidates, count, with_replacement, (seed, zlib.crc32(name.encode()), class_id, 0))

    def contrasts(self, name: str, class_id: int, count: int, with_replacement: bool, seed: int) -> list[str]:
        """Images that do not show the class, so that it is what they do not share with `name`. May be none."""
        having = set(self.members(class_id))
        candidates = [other for other in sorted(self.labels) if other not in having]
        return _draw(candidates, count, with_replacement, (seed, zlib.crc32(name.encode()), class_id, 1))


def _draw(candidates: list[str], count: int, with_replacement: bool, seed: tuple[int, ...]) -> list[str]:
    if not candidates:
        return []
    size = count if with_replacement else min(count, len(candidates))
    drawn = np.random.default_rng(seed).choice(len(candidates), size=size, replace=with_replacement)
    return [candidates[index] for index in drawn]
