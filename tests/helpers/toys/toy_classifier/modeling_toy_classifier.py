"""A toy that finds classes in images: a map of each class, whose mean is its score. It compares no images."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_toy_classifier import ToyClassifierConfig


@dataclass
class ToyClassifierOutput(ModelOutput):
    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    logits: Tensor | None = None


class ToyClassifierForImageClassification(PreTrainedModel):
    config_class = ToyClassifierConfig
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        self.backbone = nn.Conv2d(3, config.width, 4, stride=4)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(config.width, config.num_labels, 1)
        self.post_init()

    def extract_features(self, pixel_values):
        return self.dropout(self.backbone(pixel_values).relu())

    def forward(self, pixel_values, labels=None, paired_pixel_values=None, paired_labels=None, **kwargs):
        logits = self.classifier(self.extract_features(pixel_values)).mean((-2, -1))
        terms = {}
        if labels is not None:
            terms["loss_basic"] = F.multilabel_soft_margin_loss(logits, labels)
        if paired_labels is not None:
            paired = self.classifier(self.extract_features(paired_pixel_values)).mean((-2, -1))
            terms["loss_paired"] = F.multilabel_soft_margin_loss(paired, paired_labels)
        loss = sum(terms.values()) if terms else None
        return ToyClassifierOutput(loss=loss, loss_dict=terms or None, logits=logits)


__all__ = ["ToyClassifierForImageClassification"]
