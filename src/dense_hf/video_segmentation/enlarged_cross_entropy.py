"""Cross-entropy of logits that are enlarged to the size of their labels, and its gradient, a band of rows at a time.

K labels, h x w logits, H x W labels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .frame_decoder import resize

BAND_BYTES = 2**21  # of enlarged logits, so that all that is made of them stays in the cache of a CPU core


def enlarged_cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Sum over pixels of the cross-entropy of bilinearly enlarged logits; ignored pixels are 0.

    Enlarged logits of 124 labels at 480 x 864 are 206 MB, and the usual way reads or writes as much a dozen times.
    Here a band of rows is enlarged, judged and derived while it is in the cache of a CPU (elsewhere all rows are one
    band): loss and gradient take a fifth of the time, and on a CPU no enlarged map is ever whole. The gradient, of the
    size of the logits, waits for the backward pass. It cannot be derived again.

    Args:
        logits: [K, h, w], computed in float32 whatever they are.
        labels: [H, W], whole numbers below K, or `ignore_index`.
        ignore_index: of pixels to leave out.
    """
    return _EnlargedCrossEntropy.apply(logits.float(), labels.long(), ignore_index)


class _EnlargedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        total, gradient = _sum_and_gradient(logits, labels, ignore_index, ctx.needs_input_grad[0])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.saved_tensors[0] * gradients[0], None, None


def _sum_and_gradient(
    logits: Tensor, labels: Tensor, ignore_index: int, is_derived: bool
) -> tuple[Tensor, Tensor | None]:
    """The sum and, if wanted, its gradient [K, h, w]."""
    num_labels, h, w = logits.shape
    height, width = labels.shape
    maps = logits.permute(1, 2, 0).contiguous()  # classes last, so that the softmax reads what lies side by side
    # between which rows of the map a row of the enlarged one lies, and its way from the upper to the lower, 0 to 1
    places = ((torch.arange(height, device=logits.device) + 0.5) * (h / height) - 0.5).clamp(min=0)
    above = places.long()
    below, ways = (above + 1).clamp(max=h - 1), (places - above)[:, None, None]
    gradient = torch.zeros_like(maps) if is_derived else None
    total = logits.new_zeros(())
    rows = max(1, BAND_BYTES // (4 * width * num_labels))
    if logits.device.type != "cpu" or torch.compiler.is_compiling():  # a compiler unrolls the bands
        rows = height
    for top in range(0, height, rows):
        upper, lower, way = (one[top : top + rows] for one in (above, below, ways))
        band = torch.lerp(maps[upper], maps[lower], way)
        sizes = [len(band), width], [1, num_labels, len(band), w]
        enlarged = resize(band[None].permute(0, 3, 1, 2), sizes[0]).permute(0, 2, 3, 1).reshape(-1, num_labels)
        log_probabilities, truth = F.log_softmax(enlarged, dim=1), labels[top : top + rows].flatten()
        total += F.nll_loss(log_probabilities, truth, ignore_index=ignore_index, reduction="sum")
        if gradient is None:
            continue
        is_counted = (truth != ignore_index)[:, None]
        own = truth[:, None].where(is_counted, 0)
        of_enlarged = log_probabilities.exp_().scatter_add_(1, own, enlarged.new_full(own.shape, -1)).mul_(is_counted)
        of_enlarged = of_enlarged.view(1, *sizes[0], num_labels).permute(0, 3, 1, 2)
        of_band = torch.ops.aten.upsample_bilinear2d_backward(of_enlarged, *sizes, False)[0].permute(1, 2, 0)
        of_lower = of_band * way
        gradient.index_add_(0, lower, of_lower).index_add_(0, upper, of_band - of_lower)
    return total, None if gradient is None else gradient.permute(2, 0, 1)
