"""Reading the authors' released checkpoints."""

from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .errors import InvalidDataError

# architecture -> (module, function); a function takes the tensors and config overrides, and raises ValueError with
# what it expected
CONVERTERS = {
    "iocformer": ("counting.convert_iocformer", "convert_iocformer"),
    "cltr": ("counting.convert_iocformer", "convert_cltr"),
    "mcis": ("weak_segmentation.convert_mcis", "convert_mcis"),
    "cffm": ("video_segmentation.convert_cffm", "convert_cffm"),
    "cffm_plus": ("video_segmentation.convert_cffm_plus", "convert_cffm_plus"),
    "mrcfa": ("video_segmentation.convert_mrcfa", "convert_mrcfa"),
    "segformer": ("video_segmentation.convert_segformer", "convert_segformer"),
}


def convert_original_checkpoint(path: str | Path, architecture: str, **config_overrides) -> PreTrainedModel:
    """A model from a checkpoint file of the authors' code, in eval mode.

    Sizes come from the shapes of the tensors. What a file cannot tell is a config override, for example
    `encoder_attention_heads=4` where the released number of heads (8) was changed. Files are unpickled with
    `weights_only=True`: a file that carries code is refused.

    Args:
        path: The authors' `.pth` file. `module.` prefixes, optimizer state and epoch counters are tolerated.
        architecture: One of `CONVERTERS`: "iocformer", "cltr", "mcis", "cffm", "cffm_plus", "mrcfa", "segformer" (a
            Mix Transformer trained on ImageNet, without its classifier).
        config_overrides: Fields of the model's config.

    Raises:
        ValueError: for an unknown architecture or config field.
        InvalidDataError: if the file cannot be read safely, lacks tensors, has others than the model, or holds
            numbers that are not finite.
    """
    if architecture not in CONVERTERS:
        raise ValueError(f"architecture must be one of {sorted(CONVERTERS)}. Received: {architecture!r}")
    module, function = CONVERTERS[architecture]
    state_dict = read_state_dict(path)
    try:
        return getattr(import_module(f".{module}", __package__), function)(state_dict, **config_overrides)
    except KeyError as error:
        raise InvalidDataError(path, f"a checkpoint of {architecture}", f"no tensor named {error}") from error
    except ValueError as error:
        raise InvalidDataError(path, f"a checkpoint of {architecture}", error) from error


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The finite tensors of a `.pth` file, names without `module.`, whatever stands around them.

    Raises:
        InvalidDataError: if the file is missing, carries code, is no checkpoint, or has numbers that are not finite.
    """
    expected = "a checkpoint written with torch.save that holds only tensors and plain values"
    if not Path(path).is_file():
        raise InvalidDataError(path, expected, "no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise InvalidDataError(path, expected, str(error).partition("\n")[0]) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise InvalidDataError(path, "a dictionary of named tensors", type(content).__name__)
    broken = [name for name, t in content.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if broken:
        raise InvalidDataError(path, "finite weights", f"inf or nan in {', '.join(broken)}")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}
