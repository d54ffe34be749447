"""Video Swin Transformer in the place of MRCFA (thesis section 5.4.3, Table 5.9).

B clips, T frames, E `decoder_hidden_size`, h x w features at 1/8 of the image, m side of the windows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformerBlock
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d

from .configuration_mrcfa import MRCFAConfig
from .video_segmenter import FrameFeatures
from .video_session import State


class VideoSwinMining(nn.Module):
    """Layers of windowed attention over all frames of a clip (Eq. 5.12); every second one shifts its windows.

    Own design where the thesis is silent, because the wiring was not released: the layers are torchvision's, windows
    reach over all frames, features are those at 1/8 that MRCFA retrieves with (Eq. 5.12 does not say), and the
    target's are classified. At m = 7 a layer adds 0.80 M parameters, as in Table 5.9.
    """

    def __init__(self, config: MRCFAConfig, widths: Sequence[int]):
        super().__init__()
        side, shift = config.swin_window_size, config.swin_window_size // 2
        self.layers = nn.ModuleList(
            SwinTransformerBlock(
                config.decoder_hidden_size,
                config.num_swin_heads,
                window_size=[config.num_reference_frames + 1, side, side],
                shift_size=[0, shift, shift] if index % 2 else [0, 0, 0],
                attn_layer=ShiftedWindowAttention3d,
            )
            for index in range(config.num_swin_layers)
        )

    def remember(self, features: FrameFeatures) -> State:
        """The features [B, E, h, w] themselves: they change from layer to layer with the target."""
        return (features.halved,)

    def forward(self, features: FrameFeatures, references: Sequence[State]) -> tuple[Tensor, list[Tensor]]:
        """The target's features [B, E, h, w] after all layers; nothing else is judged."""
        frames = torch.stack([*(halved for (halved,) in references), features.halved], dim=1)
        pixels = frames.movedim(2, -1)
        for layer in self.layers:
            pixels = layer(pixels)
        return pixels[:, -1].movedim(-1, 1), []
