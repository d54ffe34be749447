"""A trained model as files for other runtimes: ONNX, or programs of `torch.export`; checked before anybody uses them.

OUT/export.json      what was exported: graphs with the names and shapes of their inputs and outputs, the processor
OUT/GRAPH.onnx       or GRAPH.pt2, one of each graph (see `graphs`)

Every file is run on another batch, and another size where the graph takes any, than it was traced with, and compared
with the model: one public exporter permutes the names of outputs.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.files import new_directory
from ..inference.checkpoints import load_model
from ..inference.result_folders import write_json
from ..methods import COUNTING, VIDEO, method_of
from ..strict_loading import checkpoint_folder
from .graphs import BATCH, Graph, graphs_of
from .hub import named_model
from .runtime import EXPORT_FILE

FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
TOLERANCE = 1e-4  # of outputs, relative to the largest value where that is above 1


def export_model(
    source: str | Path,
    output: str | Path,
    to: str = "onnx",
    int8: bool = False,
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Write a trained model for another runtime.

    Args:
        source: a folder or a name on the Hub.
        output: a new or empty folder.
        to: "onnx" (needs `pip install dense_hf[onnx]`) or "torch".
        int8: whether weights are stored as 8-bit integers, and products computed with them: smaller, and less exact.
        size: height and width of frames, for a model that looks back at earlier ones; by default the processor's for
            a frame of 16:9. Other models take any size, or have tiles of one size.

    Returns:
        What export.json has.

    Raises:
        InvalidDataError: no checkpoint, or a damaged one.
        ValueError: a model or options that cannot be, files in the way, or a file that computes something else than
            the model.
        ImportError: onnx, onnxscript or onnxruntime is not there.
    """
    if to not in FORMATS:
        raise ValueError(f"A model is exported to one of {', '.join(FORMATS)}. Received: {to}")
    if int8 and to != "onnx":
        raise ValueError(f"int8 is for onnx. Received: {to}")
    if size is not None and min(size) < 1:
        raise ValueError(f"size must be two whole numbers from 1 on. Received: {size[0]} x {size[1]}")
    model, processor = load_model(source, *named_model(checkpoint_folder(source)))
    with new_directory(output) as folder:
        graphs = {}
        for graph in graphs_of(model, processor, size):
            path = folder / f"{graph.name}{FORMATS[to]}"
            run = _write_onnx(graph, path) if to == "onnx" else _write_program(graph, path)
            difference = _largest_difference(graph, run)
            if not difference <= TOLERANCE:
                raise ValueError(f"The exported {graph.name} must give what the model gives. Received: {difference:g}")
            described = describe(graph) | {"file": path.name, "largest_difference": difference}
            if int8:
                described["int8_difference"] = _largest_difference(graph, _quantize(graph, path))
            graphs[graph.name] = described
        document = _document(str(source), model, processor) | {
            "format": to,
            "precision": "int8" if int8 else "float32",
            "graphs": graphs,
        }
        write_json(folder / EXPORT_FILE, document)
    return document


def describe(graph: Graph) -> dict[str, Any]:
    """Names and shapes of a graph; a dimension that may have any size by its name."""
    inputs = {
        name: [graph.varying[name].get(axis, length) for axis, length in enumerate(value.shape)]
        for name, value in graph.inputs.items()
    }
    return {"inputs": inputs, "outputs": list(graph.outputs)}


def _document(source: str, model: Any, processor: Any) -> dict[str, Any]:
    from .. import __version__

    row = method_of(model.config)
    settings = {key: value for key, value in processor.to_dict().items() if key != "auto_map"}
    document = {
        "made_by": "dense_hf",
        "dense_hf_version": __version__,
        "source": source,
        "model_type": row.name,
        "task": row.task,
        "processor": settings,
    }
    if row.task != COUNTING:
        document["labels"] = [model.config.id2label[label] for label in range(model.config.num_labels)]
    if row.task == VIDEO and hasattr(model, "step"):
        from ..video_segmentation.video_session import reference_frames

        offsets = list(model.config.frame_offsets)
        document["frame_offsets"] = offsets
        document["first_references"] = [reference_frames(number, offsets) for number in range(max(offsets, default=0))]
    return document


Run = Callable[[Mapping[str, Tensor]], Sequence[Tensor]]


def _write_onnx(graph: Graph, path: Path) -> Run:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        _require(name)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of copies of constants, and of dimensions that are named
        program = torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            dynamo=True,
            dynamic_shapes=(tuple(graph.varying[name] for name in graph.inputs),),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            verbose=False,
        )
    if program is None:
        raise ValueError(f"{graph.name} must be a graph that ONNX has. Received: none from the exporter")
    program.save(path)
    return _onnx_run(graph, path)


def _onnx_run(graph: Graph, path: Path) -> Run:
    """Runs the file; its names must be those of the graph, in their order."""
    from .runtime import open_session

    session = open_session(path)
    for kind, wanted, found in (
        ("inputs", tuple(graph.inputs), session.get_inputs()),
        ("outputs", graph.outputs, session.get_outputs()),
    ):
        if (names := [one.name for one in found]) != list(wanted):
            raise ValueError(f"The {kind} of {path.name} must be {', '.join(wanted)}. Received: {', '.join(names)}")

    def run(inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        found = session.run(list(graph.outputs), {name: value.numpy() for name, value in inputs.items()})
        return [torch.from_numpy(value) for value in found]

    return run


def _quantize(graph: Graph, path: Path) -> Run:
    """Replace the file by one with weights of 8 bits; unsigned, because onnxruntime has no other convolutions."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = path.with_name(f"{path.stem}.int8.onnx")
    quantize_dynamic(path, small, weight_type=QuantType.QUInt8)
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)
    small.replace(path)
    return _onnx_run(graph, path)


def _write_program(graph: Graph, path: Path) -> Run:
    varying = tuple(dict.fromkeys(graph.varying[name], torch.export.Dim.AUTO) for name in graph.inputs)
    with torch.no_grad():
        program = torch.export.export(graph.module, tuple(graph.inputs.values()), dynamic_shapes=(varying,))
    torch.export.save(program, path)
    module = torch.export.load(path).module()

    def run(inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        try:
            return module(*inputs.values())
        except AssertionError as error:  # so torch says that a length is a constant of the program
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
            raise ValueError(
                f"The program {graph.name} must take any batch and size. Received: {shapes}, {error}"
            ) from error

    return run


def _largest_difference(graph: Graph, run: Run) -> float:
    """How far a file is from the model on other inputs, relative to the largest value where that is above 1."""
    generator = torch.Generator().manual_seed(1)
    extra = {"batch": 1, "height": 32, "width": -32, "paired_height": 32, "paired_width": 64}
    inputs = {}
    for name, traced in graph.inputs.items():
        varying = graph.varying[name]
        shape = [length + extra.get(varying.get(axis, ""), 0) for axis, length in enumerate(traced.shape)]
        # states are no noise: those of real frames have their size and their range
        repeated = torch.cat([traced, traced.flip(0)])[: BATCH + 1]
        is_state = name.startswith("reference_")
        inputs[name] = repeated if is_state else torch.randn(*shape, generator=generator)
    with torch.no_grad():
        expected, found = graph.module(*inputs.values()), run(inputs)
    largest = 0.0
    for name, one, other in zip(graph.outputs, expected, found):
        if one.shape != other.shape:
            raise ValueError(f"{name} of {graph.name} must be {list(one.shape)}. Received: {list(other.shape)}")
        scale = max(1.0, float(one.abs().max()))
        largest = max(largest, float((one.float() - other.float()).abs().max()) / scale)
    return largest


def _require(name: str) -> None:
    from importlib.util import find_spec

    if find_spec(name) is None:
        raise ImportError(f"ONNX files need {name}: pip install dense_hf[onnx]")
