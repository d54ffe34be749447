"""What of a model is exported: functions of tensors alone, with names.

One graph of most models. A model that looks back at earlier frames has three: a whole clip (`clip`), a frame alone
(`first_frame`), and one with what earlier frames left behind (`next_frame`): a session of `new_session` taken apart.

B batch, T frames of a clip, K labels, R reference frames; h x w the size of a map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..methods import AFFINITY, COUNTING, WEAK, method_of

COUNTER_OUTPUTS = ("logits", "pred_points", "density_map", "blob_logits")
IMAGE_OUTPUTS = ("logits", "activation_maps")
BATCH = 2  # a batch of one would be a constant of the graph
DEFAULT_SIZE = (96, 128)


@dataclass(frozen=True)
class Graph:
    """One function of tensors.

    Attributes:
        name: of its file.
        module: takes the inputs by position, gives a tuple.
        inputs: what it is traced with, by name.
        outputs: their names.
        varying: of each input, the dimensions that may have any size: number -> name.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    varying: dict[str, dict[int, str]]


class _Function(nn.Module):
    """A function of a model, as the module that exporters want."""

    def __init__(self, model: nn.Module, function: Callable[..., tuple[Tensor, ...]]):
        super().__init__()
        self.model = model
        self._function = function

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self._function(*inputs)


def graphs_of(model: PreTrainedModel, processor: Any, size: tuple[int, int] | None = None) -> list[Graph]:
    """The graphs of a model.

    Args:
        model: a counter, a segmenter of images or video, or a classifier of images and pairs of them; in eval mode.
        processor: its processor.
        size: height and width of what the graphs take, where they cannot take any size (video); by default the
            processor's, of a frame of 16:9. Ignored elsewhere.

    Raises:
        ValueError: a model that is none of these.
    """
    row = method_of(model.config)
    if row.task == AFFINITY or row.name == "cffm_plus":
        raise ValueError(f"Counters, segmenters and classifiers can be exported. Received: {row.title}")
    if row.task == COUNTING:
        return [_counter(model, processor)]
    if row.task == WEAK:
        return _classifier(model)
    if hasattr(model, "step"):
        return _video(model, size or _frame_size(processor))
    return [_of_images(model, "model", ("logits",))]


def _counter(model: PreTrainedModel, processor: Any) -> Graph:
    tile = getattr(processor, "tile_size", None)
    channels = 1 if getattr(processor, "do_grayscale", False) else 3
    if tile is not None:  # tiles have one size
        return _of_images(model, "model", COUNTER_OUTPUTS, (tile, tile), channels)
    return _of_images(model, "model", COUNTER_OUTPUTS, None, channels)


def _of_images(
    model: PreTrainedModel, name: str, wanted: Sequence[str], size: tuple[int, int] | None = None, channels: int = 3
) -> Graph:
    """Images [B, channels, h, w] in; of the wanted outputs those that the model has. `None`: of any size."""
    pixels = _noise(BATCH, channels, *(size or DEFAULT_SIZE))
    with torch.no_grad():
        found = model(pixel_values=pixels)
    outputs = tuple(output for output in wanted if getattr(found, output, None) is not None)

    def run(pixel_values: Tensor) -> tuple[Tensor, ...]:
        result = model(pixel_values=pixel_values)
        return tuple(result[output] for output in outputs)

    varying = {0: "batch"} | ({} if size else {2: "height", 3: "width"})
    return Graph(name, _Function(model, run), {"pixel_values": pixels}, outputs, {"pixel_values": varying})


def _classifier(model: PreTrainedModel) -> list[Graph]:
    """A graph for images, and one for pairs, whose images may differ in size."""
    single = _of_images(model, "model", IMAGE_OUTPUTS)
    inputs = {"pixel_values": _noise(BATCH, 3, 96, 128), "paired_pixel_values": _noise(BATCH, 3, 64, 160)}
    with torch.no_grad():
        found = model(**inputs)
    outputs = tuple(name for name in found if name.endswith(("logits", "maps")))

    def run(pixel_values: Tensor, paired_pixel_values: Tensor) -> tuple[Tensor, ...]:
        result = model(pixel_values=pixel_values, paired_pixel_values=paired_pixel_values)
        return tuple(result[output] for output in outputs)

    varying = {
        name: {0: "batch", 2: f"{prefix}height", 3: f"{prefix}width"} for name, prefix in zip(inputs, ("", "paired_"))
    }
    return [single, Graph("pair", _Function(model, run), inputs, outputs, varying)]


def _video(model: Any, size: tuple[int, int]) -> list[Graph]:
    """Graphs of frames of one size: where windows and tokens lie is computed when the graph is made."""
    frame = _noise(BATCH, 3, *size)
    varying = {0: "batch"}
    with torch.no_grad():
        _, states = model.step(frame, None)
    if not model.uses_references or not any(states):

        def alone(pixel_values: Tensor) -> tuple[Tensor, ...]:
            return (model.step(pixel_values, None)[0],)

        return [
            Graph("model", _Function(model, alone), {"pixel_values": frame}, ("logits",), {"pixel_values": varying})
        ]

    lengths = [len(state) for state in states]
    names = [f"{role}_{part}" for role, length in enumerate(lengths) for part in range(length)]
    outputs = ("logits", *(f"state_{name}" for name in names))
    references = {f"reference_{name}": value for name, value in zip(names, (t for state in states for t in state))}

    def clip(pixel_values: Tensor) -> tuple[Tensor, ...]:
        return (model(pixel_values, output_auxiliary_logits=False).logits,)

    def first(pixel_values: Tensor) -> tuple[Tensor, ...]:
        logits, left = model.step(pixel_values, None)
        return (logits, *(tensor for state in left for tensor in state))

    def following(pixel_values: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        tensors = iter(flat)
        logits, left = model.step(pixel_values, tuple(tuple(next(tensors) for _ in range(n)) for n in lengths))
        return (logits, *(tensor for state in left for tensor in state))

    frames = _noise(BATCH, model.config.num_reference_frames + 1, 3, *size)
    both = {"pixel_values": frame, **references}
    return [
        Graph("clip", _Function(model, clip), {"pixel_values": frames}, ("logits",), {"pixel_values": varying}),
        Graph("first_frame", _Function(model, first), {"pixel_values": frame}, outputs, {"pixel_values": varying}),
        Graph("next_frame", _Function(model, following), both, outputs, dict.fromkeys(both, varying)),
    ]


def _frame_size(processor: Any) -> tuple[int, int]:
    """Height and width of a frame of 16:9 as the processor gives it."""
    import numpy as np

    pixels = processor(np.zeros((1080, 1920, 3), np.uint8), return_tensors="pt")["pixel_values"]
    return tuple(pixels.shape[-2:])


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))
