"""Optical flow between two frames, and pictures and features moved along it (NetWarp and ETC of Table 4.1).

N pairs of frames of H x W pixels; a flow [N, 2, H, W] tells for each pixel of the current frame how many pixels to the
right and down it is found in the previous one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

Flow = Callable[[Tensor, Tensor], Tensor]
"""(current, previous) frames [N, 3, H, W], normalised as the model sees them -> flow [N, 2, H, W]."""

RAFT_SIDE = 128  # pixels below which RAFT has no pyramid
RAFT_DIVISOR = 8
DIS_SIDE = 32  # OpenCV fails or ends the process below 12 pixels; it was tried from 16 on


class RaftFlow:
    """torchvision's RAFT as a `Flow` of NetWarp and of the loss of temporal consistency; without gradient.

    It is made when it is used first. Its weights are torchvision's own of that name and are downloaded then, unless
    `network` brings a network.

    Args:
        network: From `torchvision.models.optical_flow`, with weights; None for `raft_large` with its default ones.
        num_updates: Iterations; 20 is released.
    """

    def __init__(self, network: nn.Module | None = None, num_updates: int = 20):
        self.network, self.num_updates = network, num_updates

    @torch.no_grad()
    def __call__(self, current: Tensor, previous: Tensor) -> Tensor:
        """See `Flow`. Frames are continued by their borders to what RAFT needs, and the flow is cropped."""
        if self.network is None:
            from torchvision.models.optical_flow import Raft_Large_Weights, raft_large

            self.network = raft_large(weights=Raft_Large_Weights.DEFAULT)
        network = self.network.eval().to(current.device)
        height, width = current.shape[-2:]
        pair = [_continued(2 * shades(one.float()) - 1, RAFT_SIDE, RAFT_DIVISOR) for one in (current, previous)]
        return network(*pair, num_flow_updates=self.num_updates)[-1][..., :height, :width].to(current.dtype)


class DisFlow:
    """OpenCV's Dense Inverse Search (Kroeger et al., 2016) as a `Flow`: no weights, milliseconds a frame, on the CPU.

    The flow that the authors of NetWarp used, while the tables of the thesis have RAFT. It needs
    `pip install 'dense_hf[flow]'`. Frames are gray for it; small ones are continued by their borders.

    Raises:
        ImportError: OpenCV is not installed.
    """

    def __init__(self):
        _opencv()  # at once, and not at the second frame of a video

    @torch.no_grad()
    def __call__(self, current: Tensor, previous: Tensor) -> Tensor:
        """See `Flow`."""
        cv2 = _opencv()
        height, width = current.shape[-2:]
        gray = [_gray(_continued(shades(one.float()), DIS_SIDE)).numpy(force=True) for one in (current, previous)]
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flows = [search.calc(*pair, np.zeros((*pair[0].shape, 2), np.float32)) for pair in zip(*gray)]
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2)[..., :height, :width].to(current)


FLOWS: dict[str, Callable[[], Flow]] = {"raft": RaftFlow, "dis": DisFlow}
"""What makes a `Flow`, by the names that `NetWarpConfig` and `scripts/evaluate_video.py` have."""


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ImportError("The flow 'dis' needs OpenCV: pip install 'dense_hf[flow]'") from error
    return cv2


def _gray(pixels: Tensor) -> Tensor:
    """Pixels [N, 3, H, W] in 0 to 1 -> brightness [N, H, W] in whole numbers from 0 to 255 (ITU-R BT.601)."""
    weights = pixels.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    return (255 * (weights * pixels).sum(dim=1)).clamp(0, 255).round().byte()


def _continued(frames: Tensor, least: int, divisor: int = 1) -> Tensor:
    """Frames [N, 3, H, W], continued by their borders until both sides are at least that and multiples of that."""
    bottom, right = (max(-side % divisor, least - side, 0) for side in frames.shape[-2:])
    return F.pad(frames, (0, right, 0, bottom), mode="replicate")


def shades(frames: Tensor) -> Tensor:
    """Frames [..., 3, H, W] that were normalised with mean and standard deviation of ImageNet -> pixels in 0 to 1."""
    mean, std = (frames.new_tensor(values)[:, None, None] for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return frames * std + mean


def normalized(pixels: Tensor) -> Tensor:
    """Pixels [..., 3, H, W] in 0 to 1 -> frames, the other way round."""
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return (pixels - mean) / std


def warp(maps: Tensor, flow: Tensor, mode: str = "bilinear", align_corners: bool = True) -> Tensor:
    """What stands in `maps` at the end of each pixel's flow; 0 outside.

    Args:
        maps: [N, C, H, W] of the previous frame.
        flow: [N, 2, H, W], in pixels of the maps.
        mode: "bilinear" or "nearest".
        align_corners: `False` is what the released code does, which normalises coordinates for `True`: without flow
            that already moves a picture, by up to half a pixel at its borders.
    """
    height, width = maps.shape[-2:]
    rows = torch.arange(height, device=maps.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    columns = torch.arange(width, device=maps.device, dtype=flow.dtype) + flow[:, 0]
    grid = torch.stack([2 * columns / max(width - 1, 1) - 1, 2 * rows / max(height - 1, 1) - 1], dim=-1)
    return F.grid_sample(maps, grid.to(maps.dtype), mode=mode, padding_mode="zeros", align_corners=align_corners)


def resize_flow(flow: Tensor, size: Sequence[int]) -> Tensor:
    """A flow for maps of another size: resized, and in their pixels."""
    height, width = flow.shape[-2:]
    resized = F.interpolate(flow, size=tuple(size), mode="bilinear", align_corners=False)
    return resized * flow.new_tensor([size[1] / width, size[0] / height])[:, None, None]


class TemporalConsistencyLoss(nn.Module):
    """The loss of ETC: logits of a frame should be those of the frame before, moved along the flow.

    For any model of images or clips. A pixel counts as much as both frames look alike there. On logits, with a
    gradient through both frames (released); the authors' default weight is 0.4, that of VSPW's tables 0.1.

    ```python
    consistency = TemporalConsistencyLoss(weight=0.1)
    before, now = (model(clip[:, index]).logits for index in range(2))
    loss = supervised + consistency(now, before, clip[:, 1], clip[:, 0])
    ```

    Args:
        weight: Of the mean of squared differences.
        flow: A `Flow`; it is asked where `forward` is given none. Default: torchvision's RAFT ([`RaftFlow`]).
        compat: "vspw" warps half a pixel off, as released.
    """

    def __init__(self, weight: float = 0.1, flow: Flow | None = None, compat: str | None = None):
        super().__init__()
        if weight < 0 or compat not in (None, "vspw"):
            raise ValueError(f"weight must be at least 0, compat None or 'vspw'. Received: {weight}, {compat!r}")
        self.weight, self.flow, self.align_corners = weight, flow or RaftFlow(), compat is None

    def forward(
        self,
        logits: Tensor,
        previous_logits: Tensor,
        frames: Tensor,
        previous_frames: Tensor,
        flow: Tensor | None = None,
    ) -> Tensor:
        """The weighted loss.

        Args:
            logits, previous_logits: [N, K, h, w], of any size; they are enlarged to that of the frames.
            frames, previous_frames: [N, 3, H, W], normalised with mean and standard deviation of ImageNet.
            flow: [N, 2, H, W], from each pixel to where it was, known beforehand.

        Raises:
            ValueError: a flow of another shape.
        """
        expected = [len(frames), 2, *frames.shape[-2:]]
        flow = self.flow(frames, previous_frames) if flow is None else flow
        if list(flow.shape) != expected:
            raise ValueError(f"flow must be {expected}. Received: {list(flow.shape)}")
        mask = self.likeness(frames, previous_frames, flow)
        now, before = (
            F.interpolate(one, size=frames.shape[-2:], mode="bilinear", align_corners=False)
            for one in (logits, previous_logits)
        )
        moved = warp(before, flow, align_corners=self.align_corners)
        return self.weight * (mask * (now - moved)).square().mean()

    def likeness(self, frames: Tensor, previous_frames: Tensor, flow: Tensor) -> Tensor:
        """[N, 1, H, W]: 1 where the frame before, moved along the flow, is the same as the frame."""
        moved = warp(previous_frames, flow, align_corners=self.align_corners)
        return (-(frames - moved).sum(dim=1, keepdim=True).abs()).exp()
