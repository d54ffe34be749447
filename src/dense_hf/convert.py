"""Reading the authors' released checkpoints."""

from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from .errors import InvalidDataError
from .lazy_names import load_name
from .methods import converters

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def convert_original_checkpoint(path: str | Path, architecture: str, **config_overrides) -> "PreTrainedModel":
    """A model from a checkpoint file of the authors' code, in eval mode.

    Sizes come from the shapes of the tensors. What a file cannot tell is a config override, for example
    `encoder_attention_heads=4` where the released number of heads (8) was changed. Files are unpickled with
    `weights_only=True`: a file that carries code is refused.

    Args:
        path: The authors' `.pth` file. `module.` prefixes, optimizer state and epoch counters are tolerated.
        architecture: "iocformer", "cltr", "mcis", "cffm", "cffm_plus", "mrcfa", "segformer" (a Mix Transformer trained
            on ImageNet, without its classifier), or what an added row of `methods.py` converts.
        config_overrides: Fields of the model's config.

    Raises:
        ValueError: for an unknown architecture or config field.
        InvalidDataError: if the file cannot be read safely, lacks tensors, has others than the model, or holds
            numbers that are not finite.
    """
    known = converters()
    if architecture not in known:
        raise ValueError(f"architecture must be one of {sorted(known)}. Received: {architecture!r}")
    state_dict = read_state_dict(path)
    try:
        return load_name(known[architecture])(state_dict, **config_overrides)
    except KeyError as error:
        raise InvalidDataError(path, f"a checkpoint of {architecture}", f"no tensor named {error}") from error
    except ValueError as error:
        raise InvalidDataError(path, f"a checkpoint of {architecture}", error) from error


def read_state_dict(path: str | Path) -> "dict[str, Tensor]":
    """The finite tensors of a `.pth` file, names without `module.`, whatever stands around them.

    Raises:
        InvalidDataError: if the file is missing, carries code, is no checkpoint, or has numbers that are not finite.
    """
    import torch

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
    if not isinstance(content, dict) or not content or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise InvalidDataError(path, "a dictionary of named tensors", type(content).__name__)
    broken = [name for name, t in content.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if broken:
        raise InvalidDataError(path, "finite weights", f"inf or nan in {', '.join(broken)}")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}
