"""VidEoMT of transformers, frame by frame in a session: a peer of the video models of this package.

transformers segments whole clips and returns no state, so that frame by frame its queries would begin anew. Here a
session carries them.

B videos, S x S pixels of a frame, Q queries, K labels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoVideoProcessor

from .frame_reuse import Maps
from .video_session import State
from .video_streaming import StreamingModel


class QueryLogits(NamedTuple):
    """What queries say of a frame: classes [B, Q, K + 1], the last one for none, and masks [B, Q, S / 4, S / 4]."""

    classes: Tensor
    masks: Tensor

    def scores(self) -> Tensor:
        """[B, K, S / 4, S / 4]: for each class the masks, weighted by how sure their queries are of it.

        As transformers computes them, to the last bit.
        """
        classes = self.classes.float().softmax(dim=-1)[..., :-1]
        weighted = classes.transpose(1, 2) @ self.masks.float().sigmoid().flatten(2)
        return weighted.unflatten(2, self.masks.shape[-2:])


class StreamingVideomt(StreamingModel):
    """A `VideomtForUniversalSegmentation` with `new_session` and `segment_frame`.

    Example:

    ```python
    >>> model = StreamingVideomt(VideomtForUniversalSegmentation.from_pretrained("tue-mps/videomt-dinov2-large-vspw"))
    >>> session = model.new_session()
    >>> for frame in torch.randn(3, 1, 3, 1280, 1280):
    ...     scores = model.segment_frame(frame, session)
    ```

    Args:
        model: of transformers, in eval mode. Frames must be squares of its `image_size`.
    """

    def __init__(self, model: Any):
        self.model, self.config = model, model.config

    @property
    def frame_offsets(self) -> tuple[int, ...]:
        """The queries of the frame before."""
        return (1,)

    @property
    def reach(self) -> None:
        """Queries have met all frames before."""
        return None

    def _check_streaming(self) -> None:
        """As in the parent."""
        if self.model.training:
            raise ValueError("Frame by frame a model must be in eval mode. Received: a model in training mode")

    def encode(self, frames: Tensor) -> Maps:
        """Tokens of frames before they meet queries; what `reuse="identical"` keeps."""
        side = self.config.image_size
        if frames.shape[-2:] != (side, side):
            raise ValueError(f"Frames of this model are {side} x {side} pixels. Received: {list(frames.shape)}")
        tokens = self.model.embeddings(frames)
        for layer in self.model.layers[: self._first_layer]:
            tokens = layer(tokens)
        return (tokens,)

    def step(
        self, frame: Tensor, references: tuple[State, ...] | None, maps: Maps | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """As in the parent; the scores of [`QueryLogits`] take the place of logits."""
        logits, queries = self.query_logits(frame, references, maps)
        return logits.scores(), ((queries,),)

    def query_logits(
        self, frame: Tensor, references: tuple[State, ...] | None, maps: Maps | None = None
    ) -> tuple[QueryLogits, Tensor]:
        """What queries say of a frame, and the queries [B, Q, C] for the next one."""
        model = self.model
        (tokens,) = self.encode(frame) if maps is None else maps
        queries = model.query.weight[None].expand(len(frame), -1, -1)
        if references is not None:
            queries = model.query_updater(references[0][0]) + model.query.weight[None]
        tokens = torch.cat((queries, tokens), dim=1)
        for layer in model.layers[self._first_layer :]:
            tokens = layer(tokens)
        masks, classes = model.predict(model.layernorm(tokens))
        return QueryLogits(classes, masks), tokens[:, : self.config.num_queries]

    @property
    def _first_layer(self) -> int:
        """Of those that see queries."""
        return self.config.num_hidden_layers - self.config.num_blocks


class VideomtFrames:
    """The video processor of VidEoMT for one frame at a time, in the place of an image processor.

    ```python
    >>> name = "tue-mps/videomt-dinov2-large-vspw"
    >>> frames = VideomtFrames.from_pretrained(name)
    >>> segmenter = pipeline("video-semantic-segmentation", model=name, image_processor=frames)
    ```

    Args:
        processor: a `VideomtVideoProcessor`.
    """

    def __init__(self, processor: Any):
        self.processor = processor

    @classmethod
    def from_pretrained(cls, source: Any, **options: Any) -> Self:
        """Of a checkpoint, a folder or a name on the Hub."""
        return cls(AutoVideoProcessor.from_pretrained(source, **options))

    def to_dict(self) -> dict[str, Any]:
        """Its settings."""
        return self.processor.to_dict()

    def save_pretrained(self, folder: Any, **options: Any) -> None:
        """The video processor, which is all there is."""
        self.processor.save_pretrained(folder, **options)

    def __call__(self, image: Image.Image, return_tensors: str = "pt") -> dict[str, Tensor]:
        """`{"pixel_values": [1, 1, 3, S, S]}`."""
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        found = self.processor(videos=[pixels[None]], return_tensors=return_tensors)
        return {"pixel_values": found["pixel_values_videos"]}

    def post_process_semantic_segmentation(self, outputs: Any, target_sizes: Sequence[Any]) -> list[Tensor]:
        """A label for each pixel: scores `outputs.logits` [B, K, h, w] of B frames, in their sizes (height, width)."""
        enlarged = (
            F.interpolate(scores[None], size=tuple(size), mode="bilinear", align_corners=False)[0]
            for scores, size in zip(outputs.logits, target_sizes)
        )
        return [scores.argmax(dim=0) for scores in enlarged]
