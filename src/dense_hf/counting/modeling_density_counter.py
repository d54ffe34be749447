"""Counting by density maps: CSRNet, CAN, BL, NoisyCC, DM-Count, GL and KDMG (the baselines of Table 2.3).

They are one network, a backbone, a head and for CAN a neck, and differ in how they learn.

B images of H x W pixels, h x w density map, N annotated points of the fullest image.
"""

from functools import partial

import torch
from torch import Tensor, nn
from transformers.backbone_utils import filter_output_hidden_states
from transformers.utils.generic import can_return_tuple

from .configuration_density_counter import DensityCounterConfig
from .counter_interface import CounterPreTrainedModel, ObjectCountingOutput, read_labels, see_apart
from .counting_backbone import build_backbone, known_stride
from .density_head import ContextNeck, DensityHead, KernelGenerator, init_convolution
from .density_losses import check_loss_options, loss_of_density


class DensityCounterForObjectCounting(CounterPreTrainedModel):
    """Counts the objects of an image as the sum of a density map.

    Example:

    ```python
    >>> from PIL import Image
    >>> from dense_hf import DensityCounterConfig, DensityCounterForObjectCounting
    >>> from dense_hf.counting.image_processing_counter import CounterImageProcessor

    >>> config = DensityCounterConfig.from_method("dmcount")
    >>> model = DensityCounterForObjectCounting(config).eval()
    >>> processor = CounterImageProcessor(**config.processor_settings)
    >>> processor.count_objects(model, Image.open("reef.jpg"))["count"]
    ```
    """

    config: DensityCounterConfig

    def __init__(self, config: DensityCounterConfig):
        super().__init__(config)
        check_loss_options(config.loss_type, config.loss_options)
        self.backbone = build_backbone(config)
        channels: int = self.backbone.channels[-1]  # ty: ignore[not-subscriptable, invalid-assignment]  a list of int
        stride, enlarged = known_stride(self.backbone), 1 if config.upsample is None else 2
        if stride is not None and stride % enlarged:
            raise ValueError(f"upsample needs a backbone with an even stride. Received: one of {stride}")
        self.stride = None if stride is None else stride // enlarged
        self.neck = None if config.neck is None else ContextNeck(channels, shared=config.neck == "context_shared")
        self.head = DensityHead(
            channels if self.neck is None else self.neck.out_channels,
            config.head_channels,
            config.head_dilation,
            config.head_norm,
            config.upsample,
            config.output_activation,
            config.num_labels or 1,
        )
        size = config.generated_kernel_size
        self.kernel_generator = (
            None if size is None else KernelGenerator(config.num_channels, size, config.generated_kernel_softmax)
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As released: some methods leave PyTorch's own start, some draw from a narrow normal distribution."""
        if isinstance(module, KernelGenerator):
            for layer in module:
                if isinstance(layer, nn.Conv2d):
                    init_convolution(layer, 0.01)
        elif isinstance(module, nn.Conv2d):
            init_convolution(module, self.config.initializer_range)
        else:
            super()._init_weights(module)

    @can_return_tuple
    @filter_output_hidden_states
    def forward(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        labels: Tensor | None = None,
        image_short_sides: Tensor | None = None,
        class_labels: Tensor | None = None,
        image_points: Tensor | None = None,
        **kwargs,
    ) -> ObjectCountingOutput:
        """Count.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, height, width)`): Normalized images or crops.
            pixel_mask (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
                1 for pixels of the image, 0 for padding, which it does not see and where nothing is counted.
            labels (`torch.Tensor` of shape `(batch_size, N, 2 to 4)`, *optional*):
                Annotated points, padded with -100: x / width, y / height, then mean distance to the 3 nearest points
                / shorter side, then the visible share. A loss that needs a column that is not there makes it.
            image_short_sides (`torch.Tensor` of shape `(batch_size,)`, *optional*):
                Shorter side in pixels of the images that crops were cut out of, for losses that model background.
            class_labels (`torch.Tensor` of shape `(batch_size, N)`, *optional*):
                The class of each annotated point, from 0 on; needed if the model has several.
            image_points (`torch.Tensor` of shape `(batch_size, 2 + M, 2 or 3)`, *optional*):
                Two corners and all points of the images that crops were cut out of, as `labels`, with their class if
                the model has several, padded with NaN; for Gaussians, which are those of the whole image.

        Returns:
            `density_map` of shape `(batch_size, num_labels, h, w)`, with labels `loss` and `loss_dict`, and
            `hidden_states` with `output_hidden_states=True`: features of the backbone, of the neck if there is one,
            and of the head.

        Raises:
            ValueError: labels of another shape, or that were not divided by the sides; labels for a KDMG without its
                generator.
        """
        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        density_map, *states = see_apart(partial(self._maps, **kwargs), pixel_values, pixel_mask)
        loss, terms = None, None
        if labels is not None:
            number = self.config.num_labels or 1
            size = pixel_values.shape[-2:]
            targets = read_labels(labels, size, image_short_sides, class_labels, number, image_points)
            loss_type, kernels = self.config.loss_type, None
            if loss_type == "kernel_generation":
                if self.kernel_generator is None:
                    raise ValueError("The loss of KDMG needs its generator. Received: generated_kernel_size=None")
                kernels = self.kernel_generator(pixel_values)
            terms = loss_of_density(loss_type, self.config.loss_options, density_map, targets, kernels, self.stride)
            loss = terms.pop("loss")
        return ObjectCountingOutput(loss=loss, loss_dict=terms, density_map=density_map, hidden_states=tuple(states))

    def _maps(self, pixel_values: Tensor, **kwargs) -> list[Tensor]:
        """The density map, and the features of the backbone, of the neck if there is one, and of the head."""
        states = [self.backbone(pixel_values, **(kwargs | {"return_dict": True})).feature_maps[-1]]
        if self.neck is not None:
            states.append(self.neck(states[-1]))
        density_map, features = self.head(states[-1])
        return [density_map, *states, features]


__all__ = ["DensityCounterForObjectCounting"]
