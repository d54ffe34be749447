"""Auto classes for the tasks that transformers has none for. `registration.py` makes them know our models."""

from collections import OrderedDict

from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping, auto_class_update
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES


class AutoModelForObjectCounting(_BaseAutoModelClass):
    """Counting models by name: `AutoModelForObjectCounting.from_pretrained("org/iocformer")`."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


AutoModelForObjectCounting = auto_class_update(AutoModelForObjectCounting, head_doc="object counting")


class AutoModelForVideoSemanticSegmentation(_BaseAutoModelClass):
    """Video models by name: `AutoModelForVideoSemanticSegmentation.from_pretrained("org/cffm-b1")`."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


AutoModelForVideoSemanticSegmentation = auto_class_update(
    AutoModelForVideoSemanticSegmentation, head_doc="video semantic segmentation"
)
