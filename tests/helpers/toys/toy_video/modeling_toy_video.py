"""A toy that segments video: the target's features beside those of one frame before it."""

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_toy_video import ToyVideoConfig


@dataclass
class ToyVideoOutput(ModelOutput):
    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    logits: Tensor | None = None


class ToyVideoForVideoSemanticSegmentation(PreTrainedModel):
    config_class = ToyVideoConfig
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        self.encoder = nn.Conv2d(3, config.width, 4, stride=4)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(2 * config.width, config.num_labels, 1)
        self.post_init()

    def forward(self, pixel_values, labels=None, **kwargs):
        logits = self._classify(self.encoder(pixel_values[:, -1]), self.encoder(pixel_values[:, 0]))
        loss = terms = None
        if labels is not None:
            enlarged = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear")
            loss = F.cross_entropy(enlarged, labels[:, -1].long(), ignore_index=255)
            terms = {"loss_target": loss}
        return ToyVideoOutput(loss=loss, loss_dict=terms, logits=logits)

    def new_session(self):
        return deque(maxlen=max(self.config.frame_offsets))

    @torch.no_grad()
    def segment_frame(self, frame, session):
        features = self.encoder(frame)
        logits = self._classify(features, session[0] if len(session) == session.maxlen else features)
        session.append(features)
        return logits

    def _classify(self, features, before):
        return self.classifier(self.dropout(torch.cat([features, before], dim=1).relu()))


__all__ = ["ToyVideoForVideoSemanticSegmentation"]
