"""Reading the authors' released checkpoints."""

import io
import os
import pickletools
import zipfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError

from .errors import InvalidDataError, first_of
from .lazy_names import load_name
from .methods import converters
from .reading import check_regular_file, is_h5_file, read_h5_arrays

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


MAX_CHECKPOINT_BYTES = 2**34
_EXPECTED = "a checkpoint written with torch.save that holds only tensors and plain values"
_NUM_PICKLES = 5  # of the old format: what it is, its version, the machine, the content, names of what is stored
_MAX_NAME, _MAX_WORD = 512, 8192


def convert_original_checkpoint(path: str | Path, architecture: str, **config_overrides) -> "PreTrainedModel":
    """A model from a checkpoint file of the authors' code, in eval mode.

    Sizes come from the shapes of the tensors. What a file cannot tell is a config override, for example
    `encoder_attention_heads=4` where the released number of heads (8) was changed. Files are unpickled with
    `weights_only=True`: a file that carries code is refused.

    Args:
        path: The authors' `.pth` or `.h5` file (that needs h5py, the extra `h5`). `module.` prefixes, optimizer state
            and epoch counters are tolerated. Of PSPNet and OCRNet also the folder of the two files encoder*.pth and
            decoder*.pth.
        architecture: "iocformer", "cltr", "csrnet", "can" (the authors'), "can_commissarma" (of the reimplementation
            that trains with SGD), "bl", "noisycc", "dmcount", "gl", "kdmg", "mcnn", "mcnn_gray", "man", "dssinet",
            "mps", "lcfcn", "p2pnet", "mcis", "cffm", "cffm_plus", "mrcfa", "segformer" (a Mix Transformer trained on
            ImageNet, without its classifier), "pspnet", "ocrnet", "tcb_ppm", "tcb_ocr", "netwarp_psp", "netwarp_ocr",
            "etc_psp", "etc_ocr" (a PSPNet and an OCRNet), or what an added row of `methods.py` converts.
        config_overrides: Fields of the model's config.

    Raises:
        ValueError: for an unknown architecture or config field.
        InvalidDataError: if the file cannot be read safely, lacks tensors, has others than the model, or holds
            numbers that are not finite.
    """
    known = converters()
    if architecture not in known:
        raise ValueError(f"architecture must be one of {sorted(known)}. Received: {architecture!r}")
    state_dict = _read_parts(Path(path)) if os.path.isdir(path) else read_state_dict(path)
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


def _read_parts(folder: Path) -> "dict[str, Tensor]":
    """The tensors of a model that was saved in two files, named as in one.

    Raises:
        InvalidDataError: not one file of each kind, or see `read_state_dict`.
    """
    tensors = {}
    for part in ("encoder", "decoder"):
        files = sorted(folder.glob(f"{part}*.pth"))
        if len(files) != 1:
            names = ", ".join(file.name for file in files[:5])
            raise InvalidDataError(folder, f"one file {part}*.pth", names or "none")
        tensors |= {f"{part}.{name}": tensor for name, tensor in read_state_dict(files[0]).items()}
    return tensors


def read_state_dict(path: str | Path) -> "dict[str, Tensor]":
    """The finite tensors of a `.pth` or `.h5` file, names without `module.`, whatever stands around them.

    Raises:
        InvalidDataError: if the file is missing, carries code, is no checkpoint, or has numbers that are not finite.
    """
    import torch

    if os.path.isfile(path) and is_h5_file(path):
        arrays = read_h5_arrays(path, MAX_CHECKPOINT_BYTES)
        content: Any = {name: torch.from_numpy(array) for name, array in arrays.items()}
    else:
        content = read_torch_file(path)
    for key in ("state_dict", "model_state_dict", "model"):
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
    _check_words(path, _zip_entries(path))
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


def _check_words(path: str | Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Nothing, if no word in the pickles of the file, such as a name in a program, is as long as nobody writes them.

    torch puts them into the message of its error, which it searches in quadratic time: 100 s for a name of 68 KB.

    Args:
        path: the file.
        entries: of the archive; none for the old format.

    Raises:
        InvalidDataError: else, and for what is no pickle.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) if entries else nullcontext() as archive:
            pickles: list[IO[bytes]] = [file] * _NUM_PICKLES
            if archive is not None:
                names = [entry.filename for entry in entries if entry.filename.endswith("/data.pkl")]
                pickles = [io.BytesIO(archive.read(name)) for name in names]
            longest = max(_too_long(pickle) for pickle in pickles)
    except Exception as error:  # a damaged pickle raises anything
        raise InvalidDataError(path, _EXPECTED, f"a damaged file ({_reason(error)})") from error
    if longest:
        raise InvalidDataError(path, "names and words of ordinary length", f"one of {longest} characters")


def _too_long(pickle: IO[bytes]) -> int:
    """How long a word of a pickle is that is longer than any should be; 0 if there is none."""
    for operation, value, _ in pickletools.genops(pickle):
        if isinstance(value, str) and len(value) > _MAX_NAME:
            longest = max(map(len, value.split()), default=0)
            if longest > (_MAX_NAME if operation.name == "GLOBAL" else _MAX_WORD):
                return longest
    return 0


def _zip_entries(path: str | Path) -> list[zipfile.ZipInfo]:
    """What is in an archive as torch writes it, where nothing is larger than the file; nothing of another file.

    Raises:
        InvalidDataError: else.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"PK\x03\x04":  # as torch decides
                return []
            file.seek(0)
            entries = zipfile.ZipFile(file).infolist()
    except Exception as error:  # zipfile raises anything, too
        raise InvalidDataError(path, _EXPECTED, f"a damaged archive ({_reason(error)})") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise InvalidDataError(path, "an archive without compression, as torch writes it", "a compressed one")
    if (total := sum(entry.file_size for entry in entries)) > (size := os.path.getsize(path)):
        raise InvalidDataError(path, f"at most the {size} bytes of the file inside", f"{total} bytes")
    return entries


def _reason(error: Exception) -> str:
    unsafe = isinstance(error, UnpicklingError) and "GLOBAL" in str(error)
    return "it names code, which is not run" if unsafe else type(error).__name__
