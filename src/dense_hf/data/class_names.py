"""Names of the classes of public data sets, and what a name of a class may be."""

import os
from collections.abc import Iterable

from ..errors import InvalidDataError
from ..same_names import one_name_twice

MAX_NAME_LENGTH = 200

# In the order of thesis Table 5.8, which is that of the labels (number k in a mask is the k-th name, from 1). The
# table's print has lost the "or" between alternatives; a set's own label_num_dic_final.json goes before these.
VSPW_NAMES = (
    "wall", "ceiling", "door", "stair", "ladder", "escalator", "Playground slide", "handrail fence", "window", "rail",
    "goal", "pillar", "pole", "floor", "ground", "grass", "sand", "athletic field", "road", "path", "crosswalk",
    "building", "house", "bridge", "tower", "windmill", "well well lid", "other construction", "sky", "mountain",
    "stone", "wood", "ice", "snowfield", "grandstand", "sea", "river", "lake", "waterfall", "water",
    "billboard Bulletin Board", "sculpture", "pipeline", "flag", "parasol umbrella", "cushion carpet", "tent",
    "roadblock", "car", "bus", "truck", "bicycle", "motorcycle", "wheeled machine", "ship boat", "raft", "airplane",
    "tyre", "traffic light", "lamp", "person", "cat", "dog", "horse", "cattle", "other animal", "tree", "flower",
    "other plant", "toy", "ball net", "backboard", "skateboard", "bat", "ball", "cupboard showcase storage rack",
    "box", "traveling case trolley case", "basket", "bag package", "trash can", "cage", "plate", "tub bowl pot",
    "bottle cup", "barrel", "fishbowl", "bed", "pillow", "table desk", "chair seat", "bench", "sofa", "shelf",
    "bathtub", "gun", "commode", "roaster", "other machine", "refrigerator", "washing machine", "Microwave oven",
    "fan", "curtain", "textiles", "clothes", "painting poster", "mirror", "flower pot vase", "clock", "book", "tool",
    "blackboard", "tissue", "screen television", "computer", "printer", "mobile phone", "keyboard",
    "other electronic product", "fruit", "food", "instrument", "train",
)  # fmt: skip

# The 19 classes that Cityscapes evaluates, in the order of its train ids, and their numbers in *_labelIds.png.
CITYSCAPES_NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

# The 20 classes of PASCAL VOC in its own order, which is that of the numbers in its masks (from 1) and of the released
# lists of image-level labels (from 0).
VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

# what a spreadsheet or a data frame makes of an empty cell
_NO_NAMES = ("nan", "none", "null", "n/a")


def check_class_names(path: str | os.PathLike, names: Iterable[str]) -> None:
    """Nothing, if all can be names of different classes.

    Raises:
        InvalidDataError: a name is empty, too long, has characters that cannot be printed, stands for no name (nan),
            or differs from another in upper and lower case or in how Unicode writes it only.
    """
    names = list(names)
    for name in names:
        if not name.strip() or len(name) > MAX_NAME_LENGTH or not name.isprintable():
            expected = f"class names of up to {MAX_NAME_LENGTH} printable characters"
            raise InvalidDataError(path, expected, f"{name[:50]!r}")
        if name.strip().casefold() in _NO_NAMES:
            raise InvalidDataError(path, "names of classes", f"{name!r}, which stands for an empty cell")
    require_distinct_names(path, names)


def require_distinct_names(path: str | os.PathLike, names: Iterable[str]) -> None:
    """Nothing, if each name is that of one class, see `one_name_twice`.

    Raises:
        InvalidDataError: else.
    """
    if (same := one_name_twice(names)) is not None:
        expected = "each class once; names that differ by case or Unicode form are one"
        raise InvalidDataError(path, expected, f"{same[0]!r} and {same[1]!r}")
