"""CFFM++: CFFM with a branch that also looks at prototypes of the whole video.

The branch is trained on top of a finished CFFM that does not change any more. Prototypes are made before a video is
segmented, of frames from all over it: the method is offline.

B clips, T frames of a clip, H x W feature pixels (1/8 of the image), E `decoder_hidden_size`, P prototypes, K labels.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.backbone_utils import filter_output_hidden_states
from transformers.utils.generic import can_return_tuple

from .clip_loss import mean_cross_entropy
from .configuration_cffm import CFFMPlusConfig
from .frame_decoder import crop
from .frame_reuse import FrameReuse, Maps
from .modeling_cffm import CFFMForVideoSemanticSegmentation
from .prototype_branch_cffm_plus import OnlinePrototypeSession, PrototypeAttention, PrototypeSession
from .prototypes import cluster_frames
from .video_segmenter import FrameFeatures
from .video_session import State
from .video_streaming import VideoSegmenterOutput

BRANCH = ("prototype_attention", "prototype_dropout", "prototype_classifier")  # all that learns


class CFFMPlusForVideoSemanticSegmentation(CFFMForVideoSemanticSegmentation):
    """CFFM++. Given prototypes it adds the logits of its branch to those of CFFM; without them it *is* CFFM.

    Only the branch learns: everything else has `requires_grad=False`, from `from_pretrained` on, and its batch norm
    stays in eval mode. The encoder's stochastic depth is on in training.

    Example:

    ```python
    >>> cffm = CFFMForVideoSemanticSegmentation.from_pretrained("org/cffm-b1")
    >>> model = CFFMPlusForVideoSemanticSegmentation.from_cffm(cffm)  # train it, see scripts/train_cffm_plus.py
    >>> numbers = prototype_frame_numbers(len(video))
    >>> prototypes = model.find_prototypes(video[numbers])
    >>> session = model.new_session(prototypes[None])
    >>> for frame in video:
    ...     logits = model.segment_frame(frame[None], session)
    ```
    """

    config: CFFMPlusConfig  # ty: ignore[incompatible-mutable-override]  as in transformers
    _no_split_modules = ["FrameStage", "FrameDecoder", "CrossFrameMiningLayer", "PrototypeAttention"]

    def __init__(self, config: CFFMPlusConfig):
        super().__init__(config)
        self.prototype_attention = PrototypeAttention(config)
        self.prototype_dropout = nn.Dropout2d(config.classifier_dropout_prob)
        num_labels: int = config.num_labels  # ty: ignore[invalid-assignment]  always a number
        self.prototype_classifier = nn.Conv2d(config.decoder_hidden_size, num_labels, kernel_size=1)
        self.post_init()
        self.train(self.training)

    @classmethod
    def from_cffm(cls, cffm: CFFMForVideoSemanticSegmentation, **fields: Any) -> Self:
        """A trained CFFM with a new branch, in eval mode, on the device and in the precision of the CFFM.

        Args:
            cffm: Its weights are copied.
            fields: Fields of the config that differ from the CFFM's and from the defaults of the branch.
        """
        inherited = cffm.config.to_dict()
        for name in ("model_type", "architectures", "auto_map"):  # what the CFFM is, not how it is built
            inherited.pop(name, None)
        model = cls(CFFMPlusConfig.from_dict(inherited | fields))
        model.load_state_dict(model.state_dict() | cffm.state_dict())
        return model.to(cffm.device, cffm.dtype).eval()

    def train(self, mode: bool = True) -> Self:
        """As in PyTorch, but only the branch trains.

        Loading weights makes new parameters, which learn by default; `from_pretrained` ends with a call of this.
        """
        super().train(mode)
        self.decoder.eval()  # its batch norm must not move
        for name, module in self.named_children():
            if name not in BRANCH:
                module.requires_grad_(False)
        return self

    @can_return_tuple
    @filter_output_hidden_states
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_auxiliary_logits: bool | None = None,
        prototypes: Tensor | None = None,
        **kwargs,
    ) -> VideoSegmenterOutput:
        """Segment the last frame of each clip with the help of prototypes of its video.

        In training mode only the branch is computed, and only the target goes through the encoder: `logits` are those
        of the branch alone, as in the released code.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_frames, 3, height, width)`):
                As for CFFM. Shorter clips are segmented frame by frame, without prototypes, except in training.
            labels (`torch.Tensor` of shape `(batch_size, num_frames, height, width)`, *optional*):
                As for CFFM; those of the target count. With prototypes the loss is the cross-entropy of the branch,
                in eval mode too. The released code adds a loss on the frames alone, in which nothing learns any more:
                a number without gradient, left out here.
            output_auxiliary_logits (`bool`, *optional*):
                Whether the scores of every frame on its own are returned. With prototypes only if asked for.
            prototypes (`torch.Tensor` of shape `(batch_size, num_prototypes, decoder_hidden_size)`, *optional*):
                From `find_prototypes`, of the video that the clip is from; any number of them. Without them the model
                is CFFM.
        """
        num_frames = self._check_clip(pixel_values, labels)
        is_short = num_frames <= self.config.num_reference_frames
        if prototypes is None and self.training and labels is not None:
            raise ValueError("In training mode only the branch learns, and it needs prototypes. Received: none")
        if prototypes is None or (is_short and not self.training):
            return super().forward(pixel_values, labels, output_auxiliary_logits, return_dict=True, **kwargs)

        kwargs.pop("output_hidden_states", None)  # the decorator's; the maps are always there
        if self.training and not output_auxiliary_logits:
            pixel_values, num_frames = pixel_values[:, -1:], 1
        size = pixel_values.shape[-2:]
        with torch.no_grad() if self.training else nullcontext():
            encoded, features = self.extract(pixel_values.flatten(0, 1), **kwargs)
        target = features.of_frame(-1, num_frames)
        known = self.prototype_state(prototypes, len(pixel_values))
        references = None if self.training else self._references_of_clip(features, target, num_frames)
        logits, branch = self._add_branch(target, references, known)
        auxiliary_logits = None
        if output_auxiliary_logits:
            auxiliary_logits = self._enlarge(self.decoder.classify(features.fused), target, size)
            auxiliary_logits = auxiliary_logits.unflatten(0, (-1, num_frames))
        loss = None
        if labels is not None:
            branch = self._enlarge(branch, target, size)
            loss = mean_cross_entropy(branch[:, None], labels[:, -1:], self.config)
        return VideoSegmenterOutput(
            loss=loss,
            logits=self._enlarge(logits, target, size),
            auxiliary_logits=auxiliary_logits,
            hidden_states=features.maps,
            attentions=encoded.attentions,
        )

    def _add_branch(
        self, target: FrameFeatures, references: Sequence[State] | None, prototypes: State
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, K, H, W] of both together and of the branch; without references both are the branch's.

        The branch starts at the target's features, not at what CFFM made of them. Both are added before they are
        enlarged, which is linear; the released code adds them afterwards.
        """
        pixels, size = target.halved.flatten(2).transpose(1, 2), target.halved.shape[-2:]
        # an adapter of peft is no linear layer that can be folded into the next
        if self.training or type(self.prototype_attention.mlp_out) is not nn.Linear:
            enriched = self.prototype_attention(pixels, *prototypes).transpose(1, 2).unflatten(2, size)
            branch = self.prototype_classifier(self.prototype_dropout(enriched))
        else:
            scores = self.prototype_attention.classify(pixels, *prototypes, self.prototype_classifier)
            branch = scores.transpose(1, 2).unflatten(2, size)
        if references is None:
            return branch, branch
        return self.mine(target, references)[0] + self.config.prototype_weight * branch, branch

    def step(
        self, frame: Tensor, references: tuple[State, ...] | None, maps: Maps | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """As in the parent; one state more than there are roles is that of the prototypes (`prototype_state`)."""
        _, features = self.extract(frame, maps)
        return self._step_of(features, frame, references)

    def _step_of(
        self, features: FrameFeatures, frame: Tensor, references: tuple[State, ...] | None
    ) -> tuple[Tensor, tuple[State, ...]]:
        num_roles, size = self.config.num_reference_frames, frame.shape[-2:]
        states = self.remember(features, range(num_roles))
        if references is None:
            return crop(self.decoder.classify(features.fused), size), states
        if len(references) == num_roles:
            return self._mine(features, references, size, output_others=False)[0], states
        logits, _ = self._add_branch(features, references[:num_roles], references[num_roles])
        return self._enlarge(logits, features, size), states

    # -- prototypes ------------------------------------------------------------------------------------------------

    def find_prototypes(self, frames: Iterable[Tensor], seed: int = 0) -> Tensor:
        """Prototypes [P, E] of a video from some of its frames [3, height, width], normalised.

        Which frames: `prototype_frame_numbers` of `prototypes`. They may come from a generator; one is held at a time.
        """
        return cluster_frames(self, frames, self.config.num_prototypes, seed=seed)

    def prototype_state(self, prototypes: Tensor, batch_size: int | None = None) -> State:
        """Keys and values, one tensor [B, P, 2E], of prototypes [B, P, E]: what `step` takes after the references.

        Raises:
            ValueError: prototypes of another shape.
        """
        expected = (len(prototypes) if batch_size is None else batch_size, self.config.decoder_hidden_size)
        if prototypes.ndim != 3 or not prototypes.shape[1] or (len(prototypes), prototypes.shape[-1]) != expected:
            raise ValueError(
                f"prototypes must be [batch_size, num_prototypes, decoder_hidden_size] with {expected[0]} and "
                f"{expected[1]} for the first and the last. Received: {list(prototypes.shape)}"
            )
        return (self.prototype_attention.prototype_tokens(prototypes.to(self.device, self.dtype)),)

    def new_session(  # ty: ignore[incompatible-method-override]  one argument more, the first
        self,
        prototypes: Tensor | None = None,
        reuse: FrameReuse | str | None = None,
        cut_threshold: float | None = None,
        memory: str | None = None,
        frozen: bool = False,
    ) -> PrototypeSession | OnlinePrototypeSession:
        """The memory of a new video, for `segment_frame`.

        Args:
            prototypes: [B, P, E], of each of the B videos that will be segmented together. Their keys and values are
                computed once, here. Without them and without a memory the session is that of CFFM.
            reuse, cut_threshold: As in the parent.
            memory: "prototypes" finds them on the way, in what the session has seen so far, from `prototypes` on if
                there are some: the video need not be known in advance.
            frozen: With a memory, whether `prototypes` stay as they are.

        Raises:
            ValueError: another memory, or frozen prototypes that are not there.
        """
        if memory not in (None, "prototypes") or (frozen and memory is None):
            raise ValueError(f"memory must be None or 'prototypes', frozen needs it. Received: {memory!r}, {frozen}")
        session: Any
        if memory is None:
            with torch.no_grad():
                known = None if prototypes is None else self.prototype_state(prototypes)
            session = PrototypeSession(self.config.frame_offsets, known)
        else:
            centres = None if prototypes is None else prototypes.to(self.device).float()
            session = OnlinePrototypeSession(self.config.frame_offsets, self.config.num_prototypes, centres, frozen)
        return self._with_options(session, reuse, cut_threshold)

    def _advance(self, frame: Tensor, session: Any, maps: Maps | None) -> Tensor:
        """As in the parent; a session that finds prototypes learns from the frame after it."""
        if not isinstance(session, OnlinePrototypeSession):
            return super()._advance(frame, session, maps)
        _, features = self.extract(frame, maps)
        references = session.references()
        if references is not None and session.clusters is not None:
            references = (*references, self.prototype_state(session.clusters[0]))
        logits, states = self._step_of(features, frame, references)
        session.append(states, frame.shape)
        session.learn(features.halved)
        return logits

    def _segment_together(
        self, members: Sequence[int], frames: Sequence[Tensor], sessions: Sequence[Any]
    ) -> dict[int, Tensor]:
        """As in the parent; sessions that find prototypes are taken one by one."""
        if not isinstance(sessions[members[0]], OnlinePrototypeSession):
            return super()._segment_together(members, frames, sessions)
        return {number: self.segment_frame(frames[number][None], sessions[number])[0] for number in members}


__all__ = ["CFFMPlusForVideoSemanticSegmentation"]
