"""TCB, temporal context blending (Tables 4.1 and 5.6): the context of a clip is the mean of those of its frames.

Contexts are small (PPM: 102,400 numbers a frame, OCR: 512 a class), so a session keeps them instead of features.

B clips, T frames of a clip, K labels, h x w features at 1/8 of the frame.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .configuration_dilated import TCBConfig
from .frame_reuse import FrameReuse
from .heads_dilated import Context
from .modeling_dilated import DilatedFeatures, DilatedVideoModel
from .video_session import State, VideoSession, exchanged


def released_references(index: int, num_frames: int, frame_offsets: Sequence[int] = (9, 6, 3)) -> tuple[int, ...]:
    """Reference frames of frame `index` of a whole video as the released test chooses them, in its order.

    They come *after* the target, the nearest first, as long as the video does not end. Then they come before it, and a
    number below zero counts from the end of the video (released, if not meant).

    Raises:
        ValueError: the video is too short for both.
    """
    offsets = sorted(frame_offsets)
    sign = 1 if index + offsets[-1] < num_frames else -1
    frames = [index + sign * offset for offset in offsets]
    if min(frames) < -num_frames:
        raise ValueError(f"The video must have more frames. Received: {num_frames}, frame {index} and {offsets}")
    return tuple(frame % num_frames for frame in frames)


class BlendingSession(VideoSession):
    """[`VideoSession`] with a memory of contexts besides those of the reference frames.

    Args:
        frame_offsets: Those of the model's config.
        memory: "none", "anchor" or "rolling".
        memory_size: How many contexts are kept when one is added.
    """

    def __init__(self, frame_offsets: Sequence[int], memory: str, memory_size: int):
        self.memory, self.memory_size = memory, memory_size
        super().__init__(frame_offsets)

    def reset(self) -> None:
        """Forget everything: the next frame is the first of another video."""
        super().reset()
        self.kept: tuple[State, ...] = ()

    def references(self) -> tuple[State, ...] | None:
        """As in the parent, the memory first."""
        references = super().references()
        return None if references is None else self.recall(references)

    def recall(self, references: Sequence[State]) -> tuple[State, ...]:
        """What is blended with the target: the memory and the references, less what must leave for the target."""
        if self.memory == "none":
            return tuple(references)
        blended = list(self.kept)
        for state in (*references, None):  # before one comes, the oldest of too many leave
            del blended[: max(len(blended) - self.memory_size, 0)]
            blended += [] if state is None else [state]
        return tuple(blended)

    def memorize(self, references: Sequence[State], target: State) -> None:
        """Keep what was blended, for a clip that had references; the anchor only once."""
        if self.memory == "rolling" or (self.memory == "anchor" and not self.kept):
            self.kept = (*self.recall(references), target)

    def append(self, states: Sequence[State], shape: torch.Size) -> None:
        """As in the parent, and in the memory, unless the frame was segmented alone."""
        references = super().references()
        if references is not None:
            self.memorize(references, states[0])
        super().append(states, shape)

    def held(self) -> list[State]:
        """As in the parent, with the memory."""
        return [*super().held(), *self.kept]

    def replace(self, changed: dict[int, Tensor]) -> None:
        """As in the parent, with the memory."""
        super().replace(changed)
        self.kept = tuple(exchanged(state, changed) for state in self.kept)


class TCBForVideoSemanticSegmentation(DilatedVideoModel):
    """TCB with the head of PSPNet or OCRNet. With one frame it is that network.

    Example:

    ```python
    >>> model = TCBForVideoSemanticSegmentation(TCBConfig(head="ocr", memory="rolling", num_labels=124)).eval()
    >>> session = model.new_session()
    >>> for frame in torch.randn(12, 1, 3, 480, 853):
    ...     logits = model.segment_frame(frame, session)
    ```
    """

    config: TCBConfig  # ty: ignore[incompatible-mutable-override]  as in transformers
    clip_arguments = ("session",)

    def __init__(self, config: TCBConfig):
        super().__init__(config)
        if config.frame_weights is not None:
            channels: list[int] = list(self.encoder.channels)
            self.frame_weight = nn.Conv2d(channels[-1], 1, 1, bias=False)
        self.post_init()

    def remember(self, features: DilatedFeatures, frames: Tensor) -> State:
        """The context of the frame, and with frame weights its score [B, 1]."""
        context = self._context(features)
        if self.config.frame_weights is None:
            return context
        return (*context, self.frame_weight(features.prepared).mean((2, 3)))

    def combine(self, features: DilatedFeatures, own: State, references: Sequence[State]) -> Tensor:
        """Logits of the target by the mean of all contexts."""
        return self.head.classify(self.head.mix(features.prepared, self.blend(own, references)))

    def blend(self, target: State, references: Sequence[State]) -> Context:
        """The context of a clip: a mean of those of its frames."""
        states = [*references, target]
        if self.config.frame_weights is None:
            return tuple(torch.stack(parts).mean(dim=0) for parts in zip(*states))
        weights = torch.cat([state[-1] for state in states], dim=1).softmax(dim=1)  # [B, T]
        if self.config.frame_weights == "released":  # weights begin with the oldest frame, what they weigh does not
            states, weights = [target, *references], weights / len(states)
        columns = weights.T[:, :, None, None, None]
        return tuple((torch.stack(parts) * columns).sum(dim=0) for parts in zip(*(state[:-1] for state in states)))

    def _logits_of_clip(
        self, features: DilatedFeatures, clip: Tensor, session: BlendingSession | None = None
    ) -> Tensor:
        """As in the parent, of the target. `session`, an argument of `forward`: with a memory in the config, what the
        clips before this one left and where this one leaves its own. For released numbers, which are of clips, one for
        each frame; `segment_frame` needs none."""
        num_frames = clip.shape[1]
        states = [self.remember(features.of_frame(index, num_frames), clip[:, index]) for index in range(num_frames)]
        *references, own = states
        blended = references if session is None else session.recall(references)
        if session is not None:
            session.memorize(references, own)
        return self.combine(features.of_frame(-1, num_frames), own, blended)[:, None]

    # -- frame by frame --------------------------------------------------------------------------------------------

    @property
    def reach(self) -> int | None:
        """As in the parent; a memory is of all frames."""
        return super().reach if self.config.memory == "none" else None

    def new_session(
        self, reuse: FrameReuse | str | None = None, cut_threshold: float | None = None
    ) -> BlendingSession:
        """As in the parent, with the memory of the config."""
        session = BlendingSession(self.config.frame_offsets, self.config.memory, self.config.memory_size)
        return self._with_options(session, reuse, cut_threshold)

    @torch.no_grad()
    def segment_among(self, frame: Tensor, references: Sequence[State], session: BlendingSession) -> Tensor:
        """Logits of a frame [B, 3, height, width] with reference frames from anywhere in the video.

        Args:
            frame: the target.
            references: what `step` says that they leave behind.
            session: its memory is used, and gets this clip.
        """
        logits, states = self.step(frame, session.recall(references))
        session.memorize(references, states[0])
        return logits

    def _check_streaming(self) -> None:
        """As in the parent; with `compat="vspw"` reference frames are still to come."""
        super()._check_streaming()
        if self.config.compat == "vspw":
            raise ValueError(
                "Without compat='vspw', whose references come after their frame, frames can be segmented one by one; "
                "with it give `forward` clips of `released_references`. Received: compat='vspw'"
            )


__all__ = ["TCBForVideoSemanticSegmentation"]
