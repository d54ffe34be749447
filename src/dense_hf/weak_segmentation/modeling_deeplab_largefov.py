"""DeepLab-LargeFOV (thesis section 3.3.3), which learns from pseudo labels, and DeepLabV3 (section 3.4.4).

B images of H x W pixels, K classes, h x w features.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import filter_output_hidden_states
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.utils.generic import can_return_tuple

from .backbone_deeplab_largefov import build_segmenter_backbone
from .configuration_deeplab_largefov import DeepLabLargeFOVConfig
from .head_deeplab_largefov import build_head
from .logits_deeplab_largefov import segmentation_loss


class DeepLabLargeFOVForSemanticSegmentation(PreTrainedModel):
    """Classifies each pixel of an image.

    Example:

    ```python
    >>> import torch
    >>> from dense_hf import DeepLabLargeFOVConfig, DeepLabLargeFOVForSemanticSegmentation

    >>> model = DeepLabLargeFOVForSemanticSegmentation(DeepLabLargeFOVConfig()).eval()
    >>> model(torch.randn(1, 3, 321, 321)).logits.shape
    torch.Size([1, 21, 41, 41])
    ```
    """

    config: DeepLabLargeFOVConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image",)  # ty: ignore[invalid-assignment]  as the models of transformers say it
    accepts_loss_kwargs = False
    _no_split_modules = ["ResNetBottleNeckLayer"]

    def __init__(self, config: DeepLabLargeFOVConfig):
        super().__init__(config)
        self.backbone = build_segmenter_backbone(config)
        channels: int = self.backbone.channels[-1]  # ty: ignore[not-subscriptable, invalid-assignment]  a list of int
        self.head = build_head(config, channels)
        hidden_size: int = config.head_hidden_size  # ty: ignore[invalid-assignment]  never None after __init__
        num_labels: int = config.num_labels  # ty: ignore[invalid-assignment]  never None after __init__
        self.classifier = nn.Conv2d(hidden_size, num_labels, kernel_size=1)
        self.post_init()
        # FSDP looks for every class that is named, and fails where this configuration has none
        self._no_split_modules &= {type(module).__name__ for module in self.modules()}  # ty: ignore[unsupported-operator]  a set by now

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """He's for the head; a class layer so small that training starts with all classes about equally likely."""
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            init.normal_(module.weight, std=0.01)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        else:
            super()._init_weights(module)

    @can_return_tuple
    @filter_output_hidden_states
    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs) -> SemanticSegmenterOutput:
        """Segment images.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, H, W)`): Normalised images.
            labels (`torch.Tensor` of shape `(batch_size, H, W)`, *optional*):
                Class ids, and `config.semantic_loss_ignore_index` for pixels that the loss leaves out.

        Returns:
            `logits` of shape `(batch_size, num_labels, h, w)`, as small as the features (the sides / 8), which is how
            all segmenters of transformers do; the loss enlarges them to the labels, and
            `DeepLabLargeFOVImageProcessor.post_process_semantic_segmentation` to the image. `loss` with labels.
            `hidden_states` with `output_hidden_states=True`: the feature maps of the backbone.

        Raises:
            ValueError: labels that do not fit the images or the classes.
        """
        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        maps = self.backbone(pixel_values, **(kwargs | {"return_dict": True})).feature_maps
        logits = self.classifier(self.head(maps[-1]))
        loss = None
        if labels is not None:
            loss = segmentation_loss(logits, labels, self.config.semantic_loss_ignore_index)
        return SemanticSegmenterOutput(loss=loss, logits=logits, hidden_states=tuple(maps))


__all__ = ["DeepLabLargeFOVForSemanticSegmentation"]
