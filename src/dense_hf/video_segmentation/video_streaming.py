"""What every model of video has: its output, and frame by frame use with a session.

B videos that advance together, T frames of a clip, K labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from .frame_reuse import FrameReuse, Maps
from .video_session import State, StreamSessions, VideoSession, exchanged


@dataclass
class VideoSegmenterOutput(ModelOutput):
    """Output of a model that segments the last frame of a clip.

    Args:
        loss (`torch.Tensor` of shape `(1,)`, *optional*):
            When `labels` are given.
        loss_dict (`dict[str, torch.Tensor]`, *optional*):
            Its terms, see [`clip_loss`].
        logits (`torch.Tensor` of shape `(batch_size, num_labels, height / 4, width / 4)`):
            Scores of the target frame, the last of the clip; of models with a dilated backbone at 1/8.
        auxiliary_logits (`torch.Tensor`, *optional*):
            Scores of every frame on its own, `(batch_size, num_frames, num_labels, height / 4, width / 4)`: when
            training, with `labels` or on demand.
        retrieved_logits (`torch.Tensor`, *optional*):
            Scores of the target by what each reference frame offers, `(batch_size, num_reference_frames, num_labels,
            height / 4, width / 4)`: MRCFA, when there are `auxiliary_logits`.
        hidden_states (`tuple(torch.Tensor)`, *optional*):
            Feature maps of the encoder for all `batch_size * num_frames` frames, with `output_hidden_states=True`.
        attentions (`tuple(torch.Tensor)`, *optional*):
            Attention weights of the encoder, with `output_attentions=True`.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    auxiliary_logits: Tensor | None = None
    retrieved_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class StreamingModel:
    """Frame by frame use of a model whose `step` says what a frame gives and what it leaves behind."""

    config: Any
    training: bool

    @property
    def frame_offsets(self) -> Sequence[int]:
        """How many frames before the target those are that it looks back at, oldest first."""
        return self.config.frame_offsets

    @property
    def uses_references(self) -> bool:
        """Whether other frames matter at all."""
        return bool(self.frame_offsets)

    @property
    def reach(self) -> int | None:
        """How many frames back those are that change what is said of a frame; None: all of them."""
        return max(self.frame_offsets, default=0)

    def new_session(self, reuse: FrameReuse | str | None = None, cut_threshold: float | None = None) -> VideoSession:
        """The memory of a new video, for `segment_frame`.

        Args:
            reuse: Whether the encoder looks at what did not change: "identical", "regions" or a [`FrameReuse`] with
                other settings than its defaults. None: at every frame.
            cut_threshold: Mean difference of two frames, shrunk to 16 x 16, from which on the second begins another
                video, in the units of normalised frames; 0.5 is far more than most motion. None: there are no cuts.
        """
        return self._with_options(VideoSession(self.frame_offsets), reuse, cut_threshold)

    @staticmethod
    def _with_options(session: Any, reuse: FrameReuse | str | None, cut_threshold: float | None) -> Any:
        session.reuse = FrameReuse(reuse) if isinstance(reuse, str) else reuse and reuse.for_another_video()
        session.cut_threshold = cut_threshold
        return session

    def new_streams(self, num_streams: int = 0, **options: Any) -> StreamSessions:
        """The memories of several streams that are segmented together and start, reset and end one by one.

        Args:
            num_streams: How many there are at first.
            options: Of `new_session`, for each.
        """
        return StreamSessions(lambda: self.new_session(**options), num_streams)

    @torch.no_grad()
    def segment_frame(self, frame: Tensor, session: VideoSession | StreamSessions) -> Tensor:
        """Segment the next frame of a video; the encoder sees it once, now.

        The result is that of `forward` on the clip of the same frames. Which earlier frames a frame looks back at is
        `reference_frames` of `video_session`, at the start of a video too.

        Args:
            frame: [B, 3, height, width], normalised, one frame of each of B videos.
            session: From `new_session`, or with B streams from `new_streams`; it remembers the frame.

        Returns:
            logits as those of `forward`, of the frame.

        Raises:
            ValueError: a frame of another shape than before, or a model in training mode.
        """
        if isinstance(session, StreamSessions):
            return torch.stack(self.segment_streams(list(frame), session))
        self._check_streaming()
        session.check(frame.shape)
        session.notice_cut(frame)
        maps = None if session.reuse is None else session.reuse.maps(frame, self.encode)
        return self._advance(frame, session, maps)

    def _advance(self, frame: Tensor, session: Any, maps: Maps | None) -> Tensor:
        """Logits of the next frame of a session, which remembers it; the maps may be known."""
        logits, states = self.step(frame, session.references(), maps)
        session.append(states, frame.shape)
        return logits

    @torch.no_grad()
    def segment_streams(self, frames: Sequence[Tensor], streams: StreamSessions) -> list[Tensor]:
        """Segment the next frame of each stream; those that can be are computed together.

        Args:
            frames: [3, height, width] for each stream, in their order. A frame of another size than those before it
                restarts its stream.
            streams: From `new_streams`, or some of them (`select`).

        Returns:
            logits [K, h, w] of each.

        Raises:
            ValueError: another number of frames than of streams, or a model in training mode.
        """
        self._check_streaming()
        if len(frames) != len(streams) or any(frame.ndim != 3 for frame in frames):
            raise ValueError(
                f"There must be a frame [channels, height, width] for each of {len(streams)} streams. "
                f"Received: {[list(frame.shape) for frame in frames]}"
            )
        batches: dict[Any, list[int]] = {}
        for number, (frame, session) in enumerate(zip(frames, streams.sessions)):
            if session.frame_shape not in (None, (1, *frame.shape)):
                session.reset()
            session.notice_cut(frame[None])
            references = session.references()
            states = None if references is None else tuple(tuple(t.shape for t in state) for state in references)
            batches.setdefault((frame.shape, session.reuse is None, states), []).append(number)
        results: dict[int, Tensor] = {}
        for members in batches.values():
            results |= self._segment_together(members, frames, streams.sessions)
        return [results[number] for number in range(len(frames))]

    def _segment_together(
        self, members: Sequence[int], frames: Sequence[Tensor], sessions: Sequence[VideoSession]
    ) -> dict[int, Tensor]:
        """Logits of streams whose frames and references have the same shapes."""
        batch, chosen = torch.stack([frames[number] for number in members]), [sessions[number] for number in members]
        kept = [
            session.reuse.maps(frame[None], self.encode)
            for session, frame in zip(chosen, batch)
            if session.reuse is not None  # none or all of them
        ]
        maps = tuple(torch.cat(parts) for parts in zip(*kept)) if kept else None
        remembered = [session.references() for session in chosen]
        references = None
        if remembered[0] is not None:
            references = tuple(tuple(map(torch.cat, zip(*states))) for states in zip(*remembered))
        logits, states = self.step(batch, references, maps)
        tensors = {id(tensor): tensor for state in states for tensor in state}
        for row, session in enumerate(chosen):
            own = {key: tensor[row : row + 1].clone() for key, tensor in tensors.items()}
            session.append([exchanged(state, own) for state in states], torch.Size((1, *batch.shape[1:])))
        return dict(zip(members, logits))

    def _check_clip(self, pixel_values: Tensor, labels: Tensor | None) -> int:
        """Number of frames of a clip, or a `ValueError` that says what is wrong with the shapes.

        A model that looks at no other frames takes any number of them.
        """
        most = self.config.num_reference_frames + 1
        if pixel_values.ndim != 5 or not pixel_values.shape[1] >= 1 or 1 < most < pixel_values.shape[1]:
            raise ValueError(
                "pixel_values must be [batch_size, num_frames, channels, height, width] with "
                f"{f'1 to {most}' if most > 1 else 'some'} frames. Received: {list(pixel_values.shape)}"
            )
        expected = [*pixel_values.shape[:2], *pixel_values.shape[-2:]]
        if labels is not None and list(labels.shape) != expected:
            raise ValueError(f"labels must be {expected}. Received: {list(labels.shape)}")
        return pixel_values.shape[1]

    def _check_streaming(self) -> None:
        """Nothing, if frames can be segmented one by one.

        Raises:
            ValueError: a model in training mode.
        """
        if self.training:
            raise ValueError("Frame by frame a model must be in eval mode. Received: a model in training mode")

    def encode(self, frames: Tensor) -> Maps:
        """Maps of the encoder of frames [N, 3, height, width]."""
        raise NotImplementedError

    def step(
        self, frame: Tensor, references: tuple[State, ...] | None, maps: Maps | None = None
    ) -> tuple[Tensor, Sequence[State]]:
        """`segment_frame` as a function without memory, for `torch.compile` and `torch.export`.

        Args:
            frame: [B, 3, height, width].
            references: A state per role, or None to segment the frame alone.
            maps: Those of the encoder, if they are known.

        Returns:
            logits as those of `forward`, and the frame's state for each role it may take later.
        """
        raise NotImplementedError
