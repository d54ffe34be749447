"""MCIS (thesis section 3.3): a classifier that compares images, so that its class maps cover whole objects.

B pairs, K classes, C `hidden_size`; H x W pixels and h x w features of the image, H2 x W2 and h2 x w2 of its partner.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import filter_output_hidden_states
from transformers.utils.generic import can_return_tuple

from .backbone_mcis import build_backbone
from .co_attention_mcis import CoAttention
from .configuration_mcis import MCISConfig
from .equivariance_mcis import shrink
from .frozen_norms import init_frozen_norm
from .loss_mcis import mcis_loss
from .outputs_mcis import MCISImageClassificationOutput

NUM_NECK_LAYERS = 3


def without_parameter(function: Callable[..., Any], name: str) -> inspect.Signature:
    """The signature of a function, but for one parameter."""
    signature = inspect.signature(function)
    return signature.replace(parameters=[given for key, given in signature.parameters.items() if key != name])


class MCISForImageClassification(PreTrainedModel):
    """Classifies images on their own, and what pairs of images share and do not share.

    Example:

    ```python
    >>> import torch
    >>> from dense_hf import MCISConfig, MCISForImageClassification

    >>> model = MCISForImageClassification(MCISConfig()).eval()
    >>> outputs = model(torch.randn(2, 3, 256, 256), torch.randn(2, 3, 192, 192))
    >>> outputs.logits.shape, outputs.activation_maps.shape, outputs.paired_co_attention_maps.shape
    (torch.Size([2, 20]), torch.Size([2, 20, 32, 32]), torch.Size([2, 20, 24, 24]))
    ```

    The `Trainer` of transformers trains it on single images as it is. On pairs (`paired_pixel_values`,
    `paired_labels`) it needs `TrainingArguments(remove_unused_columns=False)`, or it takes labels of partners away.
    """

    config: MCISConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image",)  # ty: ignore[invalid-assignment]  as the models of transformers say it
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _no_split_modules = ["VGGStage", "WideBlock"]

    def __init__(self, config: MCISConfig):
        super().__init__(config)
        self.backbone = build_backbone(config)
        channels: int = self.backbone.channels[-1]  # ty: ignore[not-subscriptable, invalid-assignment]  a list of int
        layers: list[nn.Module] = []
        for _ in range(NUM_NECK_LAYERS):
            layers += [nn.Conv2d(channels, config.hidden_size, kernel_size=3, padding=1), nn.ReLU()]
            channels = config.hidden_size
        self.neck = nn.Sequential(*layers)
        num_labels: int = config.num_labels  # ty: ignore[invalid-assignment]  never None after __init__
        self.classifier = nn.Conv2d(channels, num_labels, kernel_size=1)
        if config.use_co_attention:
            self.co_attention = CoAttention(config)
            if not config.shared_class_head:
                self.common_classifier = nn.Conv2d(channels, num_labels, kernel_size=1, bias=False)
        if config.use_contrastive_co_attention:
            self.gate = nn.Conv2d(channels, 1, kernel_size=1, bias=False)  # W_B
        self.post_init()
        # FSDP looks for every class that is named, and fails where this configuration has none
        self._no_split_modules &= {type(module).__name__ for module in self.modules()}  # ty: ignore[unsupported-operator]  a set by now

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """He's for the convolutions, PyTorch's own for what compares images (released code)."""
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            init.zeros_(module.bias)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            init.kaiming_uniform_(module.weight, a=5**0.5)
        else:
            super()._init_weights(module)
            init_frozen_norm(module)

    @can_return_tuple
    @filter_output_hidden_states
    def forward(
        self,
        pixel_values: Tensor,
        paired_pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        paired_labels: Tensor | None = None,
        view_pixel_values: Sequence[Tensor] | None = None,
        domains: Tensor | None = None,
        paired_domains: Tensor | None = None,
        epoch: int | None = None,
        **kwargs,
    ) -> MCISImageClassificationOutput:
        """Classify images, and pairs of them.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, H, W)`): Normalised images.
            paired_pixel_values (`torch.Tensor` of shape `(batch_size, 3, H2, W2)`, *optional*): A partner for each.
            labels, paired_labels (`torch.Tensor` of shape `(batch_size, num_labels)`, *optional*):
                1 for the classes that are in the image, else 0.
            view_pixel_values (`list[torch.Tensor]`, *optional*):
                Changed copies of the images, each a batch of its own size (see `config.flip_view`). With labels, the
                images are paired with each of them; their features are computed once for all.
            domains, paired_domains (`torch.Tensor` of shape `(batch_size,)`, *optional*):
                Where images come from, whole numbers below `config.num_domains`. Defaults to 0.
            epoch (`int`, *optional*):
                Of training, counted from 0. Before `config.contrastive_start_epoch` the loss has no contrastive
                terms; without `epoch` it has.

        Raises:
            ValueError: labels, domains or partners that do not fit the images.
        """
        self._check_domains(pixel_values, domains, paired_domains)
        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        features, feature_maps = self._extract(pixel_values, **kwargs)
        maps = self.classifier(features)
        pair: dict[str, Any] = {}
        if paired_pixel_values is not None:
            pair = self._compare(features, paired_pixel_values, domains, paired_domains, contrast=True)
        outputs = MCISImageClassificationOutput(
            logits=pooled(maps), activation_maps=maps, last_hidden_state=features, hidden_states=feature_maps, **pair
        )
        if labels is None:
            return outputs
        views = [
            MCISImageClassificationOutput(**self._compare(features, view, domains, domains))
            for view in view_pixel_values or ()
        ]
        shrunk_maps = None
        if self.config.equivariance_weight:
            shrunk = shrink(pixel_values, self.config.equivariance_scale)
            shrunk_maps = self.classifier(self.extract_features(shrunk))
        loss, terms = mcis_loss(outputs, views, labels, paired_labels, self.config, epoch, shrunk_maps)
        return MCISImageClassificationOutput(loss=loss, loss_dict=terms, **outputs)

    # The Trainer of transformers evaluates a loss only if a batch has all arguments with "label" in their names, and
    # single images have no partner. It can be given by position and by name all the same; with the Trainer, a data set
    # of pairs needs `remove_unused_columns=False`.
    forward.__signature__ = without_parameter(forward, "paired_labels")

    def extract_features(self, pixel_values: Tensor) -> Tensor:
        """F of images [B, 3, H, W]: [B, C, h, w], at least 0."""
        return self._extract(pixel_values)[0]

    def common_maps(self, features: Tensor) -> Tensor:
        """Class maps [B, K, h, w] of co-attentive or contrastive features [B, C, h, w]."""
        head = self.classifier if self.config.shared_class_head else self.common_classifier
        return head(features)

    def contrastive_features(self, features: Tensor, common: Tensor) -> Tensor:
        """F of images [B, C, h, w] without `common`, what they share with their partners (Eq. 3.6-3.8); as large."""
        return features * (1 - self.gate(common).sigmoid())

    def _extract(self, pixel_values: Tensor, **kwargs) -> tuple[Tensor, tuple[Tensor, ...]]:
        """F, and the maps it was made of with F as the last."""
        maps = self.backbone(pixel_values, **(kwargs | {"return_dict": True})).feature_maps
        scale = self.config.feature_scale
        features = self.neck(maps[-1] if scale == 1 else scale * maps[-1])
        return features, (*maps, features)

    def _compare(
        self,
        features: Tensor,
        paired_pixel_values: Tensor,
        domains: Tensor | None,
        paired_domains: Tensor | None,
        contrast: bool = False,
    ) -> dict[str, Any]:
        """All outputs that depend on the partners, and on both."""
        if paired_pixel_values.shape[0] != features.shape[0]:
            raise ValueError(f"There must be {len(features)} partners. Received: {len(paired_pixel_values)}")
        paired_features = self.extract_features(paired_pixel_values)
        maps = {"paired_activation_maps": self.classifier(paired_features)}
        if self.config.use_co_attention:
            common, paired_common = self.co_attention(features, paired_features, domains, paired_domains)
            maps["co_attention_maps"] = self.common_maps(common)
            maps["paired_co_attention_maps"] = self.common_maps(paired_common)
            if contrast and self.config.use_contrastive_co_attention:
                rest = self.contrastive_features(features, common)
                paired_rest = self.contrastive_features(paired_features, paired_common)
                maps["contrastive_maps"] = self.common_maps(rest)
                maps["paired_contrastive_maps"] = self.common_maps(paired_rest)
        logits = {
            name.replace("activation_", "").replace("maps", "logits"): pooled(values) for name, values in maps.items()
        }
        return {"paired_last_hidden_state": paired_features} | maps | logits

    def _check_domains(self, pixel_values: Tensor, *domains: Tensor | None) -> None:
        for given in domains:
            if given is None or torch.compiler.is_compiling():
                continue
            shape, count = (len(pixel_values),), self.config.num_domains
            if given.shape != shape or given.is_floating_point() or not ((given >= 0) & (given < count)).all():
                raise ValueError(
                    f"domains must be {shape[0]} whole numbers below num_domains ({count}). Received: {given.tolist()}"
                )


def pooled(maps: Tensor) -> Tensor:
    """Global average pooling, [B, K, h, w] -> [B, K]."""
    return maps.mean(dim=(2, 3))


__all__ = ["MCISForImageClassification"]
