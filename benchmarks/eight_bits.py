"""Linear weights of 8 bits (torchao): how many counts and labels change, and what it costs, in one run.

    pip install ".[adapters]"
    python benchmarks/eight_bits.py demo_data/nuclei/images/PICTURE demo_data/street

The bundled counter of nuclei on a picture and the bundled CFFM on test frames of the street (dataset_scripts/), once
as they are and once with `Int8WeightOnlyConfig`, in turn. Prints the counts, the share of pixels whose label is the
same, and the ratio of CPU times. Convolutions stay as they are. `dense-hf export --int8` has another way to 8 bits,
which exported.py measures.
"""

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
from measuring import compare
from torch import Tensor
from torchao.quantization import Int8WeightOnlyConfig, quantize_

from dense_hf.data import open_image, read_video_folder
from dense_hf.inference.checkpoints import load_counter, load_video_model

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"


def in_eight_bits(model: Any) -> Any:
    """A copy whose linear layers have weights of 8 bits."""
    smaller = copy.deepcopy(model)
    quantize_(smaller, Int8WeightOnlyConfig())
    return smaller


def linear_share(model: Any) -> float:
    """Share of the parameters that are weights of linear layers."""
    linear = [module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return sum(linear) / sum(parameter.numel() for parameter in model.parameters())


def labels_of(model: Any, frames: list[Tensor]) -> Tensor:
    """Labels [T, h, w] of a video at a quarter of its size."""
    session = model.new_session()
    return torch.cat([model.segment_frame(frame, session).argmax(dim=1) for frame in frames])


@torch.no_grad()
def main() -> None:
    """Print what changes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="that the counter of nuclei is shown")
    parser.add_argument("street", type=Path, help="folder that dataset_scripts/street_video.py made")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)

    counter, counting = load_counter(str(CHECKPOINTS / "iocformer-nuclei"))
    smaller, picture = in_eight_bits(counter), open_image(options.picture)
    counts = [counting.count_objects(model, picture)["count"] for model in (counter, smaller)]
    print(f"IOCFormer, {picture.size}: {counts[0]} objects, {counts[1]} with 8 bits")
    print(f"  {linear_share(counter):.0%} of its parameters are in linear layers")
    compare(
        "8 bits / float32",
        lambda: counting.count_objects(smaller, picture),
        lambda: counting.count_objects(counter, picture),
        options.repeats,
    )

    model, processor = load_video_model(str(CHECKPOINTS / "cffm-street"))
    (video,) = read_video_folder(options.street / "street").splits["test"]
    pictures = [open_image(frame.image_path) for frame in video.frames[: options.frames]]
    frames = [processor([one], return_tensors="pt")["pixel_values"][0] for one in pictures]
    smaller = in_eight_bits(model)
    same = (labels_of(model, frames) == labels_of(smaller, frames)).float().mean()
    print(f"CFFM, {len(frames)} frames of {list(frames[0].shape[-2:])}: {same:.2%} of the labels are the same")
    print(f"  {linear_share(model):.0%} of its parameters are in linear layers")
    few = frames[:10]
    compare("8 bits / float32", lambda: labels_of(smaller, few), lambda: labels_of(model, few), options.repeats)


if __name__ == "__main__":
    main()
