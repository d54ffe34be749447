"""How pseudo labels are made of maps (thesis sections 3.3.2 and 3.4.4), as a value that is checked and stored."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
from PIL import Image

from .dense_crf import DenseCRF
from .pseudo_labels import make_pseudo_label


@dataclass(frozen=True)
class PseudoLabelSettings:
    """The numbers of [`make_pseudo_label`]; the defaults are the released ones.

    Raises:
        ValueError: values that cannot work; the message lists all.
    """

    min_attention: float = field(default=0.3, metadata={"help": "With saliency: lower scores count as 0."})
    certain_attention: float = field(
        default=0.95, metadata={"help": "With saliency: pixels above it that got no class are ignored."}
    )
    conflict_score: float = field(
        default=0.99, metadata={"help": "A pixel with more than one score above it is ignored."}
    )
    min_saliency: int = field(default=32, metadata={"help": "Salient pixels (0 to 255) without a class are ignored."})
    min_object_share: float = field(
        default=0.01, metadata={"help": "An image whose classes have less of its pixels is ignored as a whole."}
    )
    background_score: float = field(
        default=0.2, metadata={"help": "Without saliency: the score of the background (section 3.4.4)."}
    )
    background_power: float | None = field(
        default=None,
        metadata={"help": "Without saliency, instead of the score: (1 - highest score of a class) ^ this."},
    )
    crf: bool = field(
        default=False, metadata={"help": "Without saliency: a dense CRF makes the scores follow the image's edges."}
    )

    def __post_init__(self):
        shares = ("min_attention", "certain_attention", "conflict_score", "min_object_share", "background_score")
        problems = [
            f"{name} must be in [0, 1], received {getattr(self, name)}"
            for name in shares
            if not 0 <= getattr(self, name) <= 1
        ]
        if not 0 <= self.min_saliency <= 255:
            problems.append(f"min_saliency must be from 0 to 255, received {self.min_saliency}")
        if self.background_power is not None and not self.background_power > 0:
            problems.append(f"background_power must be positive, received {self.background_power}")
        if self.crf and self.background_power is None and not self.background_score:
            problems.append("crf needs a background_score above 0, received 0")
        if problems:
            raise ValueError("; ".join(problems))

    def check_with_saliency(self) -> None:
        """Raise ValueError for settings that have no meaning with saliency."""
        if self.crf or self.background_power is not None:
            raise ValueError("crf and background_power are for labels without saliency. Received: both")

    def __call__(
        self, attention: Mapping[int, np.ndarray], saliency: np.ndarray | None, num_labels: int, image: Image.Image
    ) -> np.ndarray:
        """The pseudo label, uint8 [H, W]; arguments as in [`make_pseudo_label`], and the picture.

        Without saliency an image without classes is all background: that none of them is there is what its label
        says.
        """
        if not attention and saliency is None:
            return np.zeros((image.height, image.width), np.uint8)
        numbers = asdict(self)
        crf = DenseCRF() if numbers.pop("crf") else None
        refine = None if crf is None else lambda scores: crf(np.asarray(image), scores)
        return make_pseudo_label(attention, saliency, num_labels, **numbers, refine=refine)
