"""Whether every model does on this GPU what it does on the CPU, and how fast: no network, under ten minutes.

    make gpu-check                                                      # all models at full width
    python benchmarks/gpu_check.py --device cpu --output out            # on a CPU: small models, what the tests run
    python benchmarks/gpu_check.py --methods cffm mrcfa --output out

For every model, with random weights:

- float32 / CPU: largest difference of any output to the same model on the CPU, as a part of the largest value. TF32 is
  off. Above 1e-3 the check fails.
- bfloat16: the same under autocast; outputs that are not finite fail.
- resume: two training steps with Adam, against one that is saved, loaded into a new model and optimizer, and another.
  Weights that are not the same bits fail, unless PyTorch says that a layer has no deterministic form here ("not
  deterministic", with the largest difference).
- memory: peak of the device while it trained, MiB.
- per second: images, or frames of a running video; for video models, as the thesis counts frames (Tables 4.1 and 5.6),
  480 x 853 pixels, 124 classes, one frame at a time after 5 that do not count. "compiled": through `torch.compile`.

`gpu_check.json` and `gpu_check.md` in the output folder have the name of the card. Ends with 1 if something failed.
"""

import argparse
import copy
import io
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dense_hf.markdown import table
from dense_hf.methods import AFFINITY, COUNTING, SEGMENTATION, VIDEO, WEAK, Method, frame_offsets, methods

LIMIT = 1e-3
WARM_UP = 5
VIDEO_SIZE, VIDEO_LABELS = (480, 853), 124


def make_model(row: Method, is_small: bool) -> nn.Module:
    """A model of a row with random weights."""
    torch.manual_seed(0)
    if is_small:
        from tiny_models_of_methods import tiny_of  # in tests/helpers

        return tiny_of(row.name).eval()
    config = row.config_class()
    if row.task == VIDEO:
        config.num_labels = VIDEO_LABELS
    return row.model_class(config).eval()


def inputs_of(row: Method, config: Any, side: int) -> dict[str, Tensor]:
    """Two random images or clips, with what the loss wants where one step is enough to have one."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    side = getattr(config, "tile_size", side)  # of a counter that sees tiles
    pixels = noise(2, 3, side, side)
    if row.task == COUNTING:
        if getattr(config, "num_channels", 3) == 1:
            pixels = pixels[:, :1]
        return {"pixel_values": pixels, "labels": torch.rand(2, 6, 3, generator=generator)}
    if row.task == WEAK:
        labels = (torch.rand(2, config.num_labels, generator=generator) < 0.5).float()
        labels[:, 0] = 1
        return {
            "pixel_values": pixels,
            "paired_pixel_values": noise(2, 3, side, side),
            "labels": labels,
            "paired_labels": labels.roll(1, 0),
        }
    if row.task == AFFINITY:
        return {"pixel_values": pixels}
    labels = torch.randint(0, config.num_labels, (2, side, side), generator=generator)
    if row.task == VIDEO and getattr(config, "frame_offsets", None):
        frames = len(frame_offsets(config)) + 1
        return {"pixel_values": noise(2, frames, 3, side, side), "labels": labels[:, None].expand(-1, frames, -1, -1)}
    return {"pixel_values": pixels, "labels": labels}


def tensors_of(outputs: Any) -> dict[str, Tensor]:
    """The floating-point tensors of an output by name, the loss among them; nested ones are left out."""
    return {
        name: value.detach().float().cpu()
        for name, value in outputs.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }


def largest_difference(ours: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """The largest difference of any tensor as a part of its largest value; infinite if something is not finite."""
    parts = [0.0]
    for name, value in expected.items():
        if not torch.isfinite(ours[name]).all():
            return float("inf")
        parts.append(float((ours[name] - value).abs().max() / value.abs().max().clamp(min=1e-12)))
    return max(parts)


def on(device: torch.device, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs on a device."""
    return {name: value.to(device) for name, value in inputs.items()}


def take_steps(model: nn.Module, inputs: Mapping[str, Tensor], steps: Iterable[bytes | None]) -> bytes:
    """Training steps with Adam, one for each entry; an entry that is a state is loaded before its step.

    Returns:
        the state after them: weights and optimizer, as a file would have it.
    """
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    model.train()
    for state in steps:
        if state is not None:
            loaded = torch.load(io.BytesIO(state), weights_only=True)
            model.load_state_dict(loaded["model"])
            optimizer.load_state_dict(loaded["optimizer"])
        torch.manual_seed(0)  # dropout
        optimizer.zero_grad()
        model(**inputs).loss.sum().backward()
        optimizer.step()
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    return file.getvalue()


def check_resume(make: Callable[[], nn.Module], inputs: Mapping[str, Tensor], device: torch.device) -> str:
    """Two steps, and one and another after loading: "same bits", or what stands against it."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            whole = take_steps(make().to(device), inputs, [None, None])
            first = take_steps(make().to(device), inputs, [None])
            resumed = take_steps(make().to(device), inputs, [first])
    finally:
        torch.use_deterministic_algorithms(False)
    expected, found = (
        torch.load(io.BytesIO(state), weights_only=True, map_location="cpu")["model"] for state in (whole, resumed)
    )
    if all(torch.equal(expected[name], found[name]) for name in expected):
        return "same bits"
    difference = max(float((expected[name].double() - found[name].double()).abs().max()) for name in expected)
    is_known = any("deterministic" in str(one.message) for one in caught)
    return f"{'not deterministic' if is_known else 'DIFFERENT'}, {difference:.1e}"


def per_second(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Calls per second, after some that do not count."""
    for _ in range(WARM_UP):
        run()
    wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    wait(device)
    return repeats / (time.perf_counter() - start)


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.no_grad()
def measure_speed(model: nn.Module, row: Method, is_small: bool, device: torch.device) -> dict[str, float]:
    """Images, or frames of a running video, per second; of video models also compiled."""
    size = (64, 96) if is_small else VIDEO_SIZE if row.task in (VIDEO, SEGMENTATION) else (256, 256)
    if tile := getattr(model.config, "tile_size", None):  # of a counter that sees tiles
        size = (tile, tile)
    channels = 1 if getattr(model.config, "num_channels", 3) == 1 else 3
    frame = torch.randn(1, channels, *size, device=device)
    repeats = 3 if is_small else 30
    if not hasattr(model, "new_session"):
        return {"per_second": per_second(lambda: model(frame), repeats, device)}
    speeds = {}
    for name, one in (("per_second", model), ("compiled", copy.copy(model))):
        if name == "compiled":
            one.step = torch.compile(model.step, backend="aot_eager" if is_small else "inductor")
        session = one.new_session()
        for _ in range(10):  # until the session has all references
            one.segment_frame(frame, session)
        speeds[name] = per_second(lambda one=one, session=session: one.segment_frame(frame, session), repeats, device)
    return speeds


def check(row: Method, is_small: bool, device: torch.device) -> dict[str, Any]:
    """All columns of a model."""
    model = make_model(row, is_small)
    side = 64 if is_small else 256
    inputs = inputs_of(row, model.config, side)
    result: dict[str, Any] = {"method": row.title, "parameters": sum(p.numel() for p in model.parameters())}
    with torch.no_grad():
        expected = tensors_of(model(**inputs))
        ours, moved = copy.deepcopy(model).to(device), on(device, inputs)
        result["float32"] = largest_difference(tensors_of(ours(**moved)), expected)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            result["bfloat16"] = largest_difference(tensors_of(ours(**moved)), expected)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    if "labels" in inputs and row.name != "cffm_plus":  # whose branch wants prototypes of a video
        result["resume"] = check_resume(lambda: copy.deepcopy(model), moved, device)
    if device.type == "cuda":
        result["memory"] = torch.cuda.max_memory_allocated(device) / 2**20
    result |= measure_speed(ours, row, is_small, device)
    failed = [name for name, limit in (("float32", LIMIT), ("bfloat16", 1e9)) if not result[name] <= limit]
    failed += ["resume"] if result.get("resume", "").startswith("DIFFERENT") else []
    return result | {"failed": failed}


def write(results: list[dict[str, Any]], header: dict[str, Any], folder: Path) -> str:
    """Both files; returns the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu_check.json").write_text(json.dumps(header | {"models": results}, indent=1) + "\n")
    names = {
        "method": "model",
        "parameters": "parameters",
        "float32": "float32 / CPU",
        "bfloat16": "bfloat16 / CPU",
        "resume": "resume",
        "memory": "memory, MiB",
        "per_second": "per second",
        "compiled": "compiled",
        "error": "error",
    }
    rows = [[_text(result.get(name)) for name in names] for result in results]
    text = (
        f"{header['device']}, {header['width']} models, torch {header['torch']}\n\n{table(list(names.values()), rows)}"
    )
    (folder / "gpu_check.md").write_text(text + "\n")
    return text


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if abs(value) < 0.1 else f"{value:.1f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def main(argv: list[str] | None = None) -> int:
    """Check, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--width", choices=("small", "full"), help="default: full on a GPU, small on a CPU")
    parser.add_argument("--methods", nargs="*", choices=list(methods()), default=list(methods()))
    parser.add_argument("--output", type=Path, default=Path("gpu_check"))
    arguments = parser.parse_args(argv)
    device = torch.device(arguments.device)
    is_small = (arguments.width or ("small" if device.type == "cpu" else "full")) == "small"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    header = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})",
        "torch": torch.__version__,
        "width": "small" if is_small else "full",
    }
    results = []
    for name in arguments.methods:
        start = time.perf_counter()
        try:
            result = check(methods()[name], is_small, device)
        except Exception as error:  # the other models are still worth the device's time
            result = {
                "method": methods()[name].title,
                "error": f"{type(error).__name__}: {error}"[:300],
                "failed": ["error"],
            }
        results.append(result | {"name": name, "seconds": time.perf_counter() - start})
        text = write(results, header, arguments.output)
        print(f"{name}: {', '.join(result['failed']) or 'ok'}", file=sys.stderr, flush=True)
    print(text)
    return int(any(result["failed"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
