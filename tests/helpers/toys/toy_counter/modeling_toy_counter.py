"""A toy that counts: a density map of two layers, and no points."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_toy_counter import ToyCounterConfig


@dataclass
class ToyCounterOutput(ModelOutput):
    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    density_map: Tensor | None = None


class ToyCounterForObjectCounting(PreTrainedModel):
    config_class = ToyCounterConfig
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        self.backbone = nn.Conv2d(3, config.width, 4, stride=4)
        self.dropout = nn.Dropout(0.1)
        self.density_head = nn.Conv2d(config.width, 1, 1)
        self.post_init()

    def forward(self, pixel_values, pixel_mask=None, labels=None, **kwargs):
        density = F.softplus(self.density_head(self.dropout(self.backbone(pixel_values).relu()))) / 100
        loss = terms = None
        if labels is not None:
            number = (labels[..., 0] >= 0).sum(dim=1)
            error = (density.sum(dim=(1, 2, 3)) - number).abs().mean()
            size = density.square().mean()
            loss, terms = error + size, {"loss_number": error, "loss_size": size}
        return ToyCounterOutput(loss=loss, loss_dict=terms, density_map=density)


__all__ = ["ToyCounterForObjectCounting"]
