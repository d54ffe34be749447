"""Reading the authors' released checkpoints."""

import os
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError

from .errors import InvalidDataError, first_of
from .lazy_names import load_name
from .methods import converters
from .reading import check_regular_file

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


MAX_CHECKPOINT_BYTES = 2**34
_EXPECTED = "a checkpoint written with torch.save that holds only tensors and plain values"


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
    expected = f"a checkpoint of {architecture}"
    try:
        return load_name(known[architecture])(state_dict, **config_overrides)
    except KeyError as error:
        raise InvalidDataError(path, expected, f"no tensor named {error}") from error
    except (ValueError, StrictDataclassError) as error:
        raise InvalidDataError(path, expected, error) from error
    except Exception as error:  # tensors whose number of dimensions nobody expects
        received = f"tensors that do not fit ({type(error).__name__}: {error})"
        raise InvalidDataError(path, expected, received) from error


def read_state_dict(path: str | Path) -> "dict[str, Tensor]":
    """The finite tensors of a `.pth` file, names without `module.`, whatever stands around them.

    Raises:
        InvalidDataError: if the file is missing, carries code, is no checkpoint, or has numbers that are not finite.
    """
    import torch

    content = read_torch_file(path)
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise InvalidDataError(path, "a dictionary of named tensors", type(content).__name__)
    _check_tensors(path, content)
    broken = [name for name, t in content.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if broken:
        raise InvalidDataError(path, "finite weights", f"inf or nan in {first_of(broken)}")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def read_torch_file(path: str | Path) -> Any:
    """What `torch.save` wrote, if it is tensors and plain values. No code of the file is run.

    Raises:
        InvalidDataError: if the file is missing, carries code, is no such file, or larger inside than outside.
    """
    import torch

    if not os.path.lexists(path):
        raise InvalidDataError(path, _EXPECTED, "no such file")
    check_regular_file(path, MAX_CHECKPOINT_BYTES)
    _check_zip(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file, above all one of the old format, raises anything
        # not the message: it may advise to load with weights_only=False, which runs what is in the file
        raise InvalidDataError(path, _EXPECTED, f"what cannot be read as such ({_reason(error)})") from error


def _check_tensors(path: str | Path, tensors: "dict[str, Tensor]") -> None:
    """Nothing, if these are named arrays of numbers that the file is large enough for.

    Raises:
        InvalidDataError: else.
    """
    import torch

    if strangers := [name for name in tensors if not isinstance(name, str)]:
        raise InvalidDataError(path, "names of tensors", strangers)
    left = 4 * os.path.getsize(path)  # some tensors may share what is stored
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise InvalidDataError(path, f"ordinary numbers in {name}", f"{tensor.layout} on {tensor.device}")
        left -= tensor.nbytes
        if tensor.nbytes > tensor.untyped_storage().nbytes() or left < 0:
            raise InvalidDataError(path, "tensors as large as what is stored", f"{name} of {tensor.nbytes} bytes")


def _check_zip(path: str | Path) -> None:
    """Nothing, if the file is no archive, or one as torch writes it: what is inside is not larger than the file.

    Raises:
        InvalidDataError: else.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"PK\x03\x04":  # as torch decides
                return
            file.seek(0)
            entries = zipfile.ZipFile(file).infolist()
    except Exception as error:  # zipfile raises anything, too
        raise InvalidDataError(path, _EXPECTED, f"a damaged archive ({_reason(error)})") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise InvalidDataError(path, "an archive without compression, as torch writes it", "a compressed one")
    if (total := sum(entry.file_size for entry in entries)) > (size := os.path.getsize(path)):
        raise InvalidDataError(path, f"at most the {size} bytes of the file inside", f"{total} bytes")


def _reason(error: Exception) -> str:
    unsafe = isinstance(error, UnpicklingError) and "GLOBAL" in str(error)
    return "it names code, which is not run" if unsafe else type(error).__name__
