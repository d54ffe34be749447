"""MRCFA (thesis chapter 5): mining relations among cross-frame affinities for video semantic segmentation.

B clips, R reference frames, h x w features at 1/8 of the image, E `decoder_hidden_size`, K labels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d
from transformers import initialization as init

from .affinity_mrcfa import AffinityMining
from .configuration_mrcfa import MRCFAConfig
from .feature_pyramid_mrcfa import FeaturePyramid
from .frame_encoder import map_widths
from .video_segmenter import FrameFeatures, VideoSegmenterModel
from .video_session import State
from .video_swin_mrcfa import VideoSwinMining

MINING = {"affinity": AffinityMining, "feature_pyramid": FeaturePyramid, "video_swin": VideoSwinMining}


class MRCFAForVideoSemanticSegmentation(VideoSegmenterModel):
    """MRCFA: a clip in, classes of its last frame out; or a video, frame by frame.

    Example:

    ```python
    >>> import torch
    >>> from dense_hf import MRCFAConfig, MRCFAForVideoSemanticSegmentation

    >>> model = MRCFAForVideoSemanticSegmentation(MRCFAConfig.from_backbone("b1", num_labels=124)).eval()
    >>> model(torch.randn(1, 4, 3, 480, 864)).logits.shape
    torch.Size([1, 124, 120, 216])
    >>> session = model.new_session()
    >>> for frame in torch.randn(12, 1, 3, 480, 864):
    ...     logits = model.segment_frame(frame, session)
    ```
    """

    config: MRCFAConfig  # ty: ignore[incompatible-mutable-override]  as in transformers
    _no_split_modules = ["FrameStage", "FrameDecoder", "AffinityMining", "FeaturePyramid", "VideoSwinMining"]
    size_divisor = 32  # reference tokens of all scales lie on one grid

    def __init__(self, config: MRCFAConfig):
        super().__init__(config)
        self.mining = MINING[config.mining](config, map_widths(self.encoder))
        self.dropout = nn.Dropout2d(config.classifier_dropout_prob)
        num_labels: int = config.num_labels  # ty: ignore[invalid-assignment]  always a number
        width = config.decoder_hidden_size
        self.classifier = nn.Conv2d(width, num_labels, kernel_size=1)
        # only for training: one for what each reference offers
        retrieved = 0 if config.mining == "video_swin" else config.num_reference_frames
        self.auxiliary_classifiers = nn.ModuleList(
            nn.Conv2d(width, num_labels, kernel_size=1) for _ in range(retrieved)
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """The parent's, also for cubic kernels, and position biases near zero."""
        if isinstance(module, nn.Conv3d):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            bound = module.weight[0].numel() ** -0.5
            init.uniform_(module.get_parameter("bias"), -bound, bound)
        elif isinstance(module, ShiftedWindowAttention3d):
            init.trunc_normal_(module.relative_position_bias_table, std=0.02)
        else:
            super()._init_weights(module)

    def remember(self, features: FrameFeatures, roles: Sequence[int]) -> tuple[State, ...]:
        """The same keys and values in every role."""
        return (self.mining.remember(features),) * len(roles)

    def mine(self, features: FrameFeatures, references: Sequence[State]) -> tuple[Tensor, list[Tensor]]:
        """A classifier over the merged features; and what each reference offered [B, E, h, w]."""
        merged, retrieved = self.mining(features, references)
        return self.classifier(self.dropout(merged)), retrieved

    def classify_others(self, others: list[Tensor]) -> list[Tensor]:
        """A classifier of its own over what each reference offered."""
        return [head(self.dropout(maps)) for head, maps in zip(self.auxiliary_classifiers, others)]


__all__ = ["MRCFAForVideoSemanticSegmentation"]
