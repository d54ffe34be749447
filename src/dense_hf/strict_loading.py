"""Loading tensors into a model: all of them, or an error that names what does not fit.

A checkpoint is FOLDER/config.json with FOLDER/model.safetensors, or with FOLDER/model.safetensors.index.json and the
files of FOLDER that it names. Pickled weights are not read: reading one may run code of the file.
"""

import copy
import math
import os
import re
import stat
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers.utils import logging

from .errors import InvalidDataError
from .reading import read_json
from .setting_bounds import MOST_PIXELS, pixels_of

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_MAX_JSON_BYTES = 2**24
_MAX_TENSORS = 100_000
_MOST = 2**24  # of a number in settings that is a size of anything
_MOST_LAYERS = 256
_MAY_BE_MISSING = 2**24  # numbers that a model may have beside those of its file, 64 MB: before they are named
_TENSORS_MAY_BE_MISSING = 500
_FLOATS = ("BF16", "F16", "F32", "F64")  # as a safetensors file names its types
_COUNTER = "num_batches_tracked"  # of batch norm; no result depends on it


class StoredTensor(NamedTuple):
    """What a file says about a tensor."""

    file: Path
    dtype: str
    size: int


class _Size(NamedTuple):
    numbers: int
    tensors: int


def load_strictly(model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Load, or raise a `ValueError` that names every tensor that is missing, unexpected or of another shape.

    Counters of batch norm may be missing.
    """
    expected = model.state_dict()
    counters = {name for name in expected if name.endswith(_COUNTER)}
    problems = {
        "missing": sorted(expected.keys() - counters - state_dict.keys()),
        "unexpected": sorted(state_dict.keys() - expected.keys()),
        "of another shape": [
            f"{name} {list(tensor.shape)} (expected {list(expected[name].shape)})"
            for name, tensor in state_dict.items()
            if name in expected and tensor.shape != expected[name].shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names)
        raise ValueError(f"exactly the tensors of the model. {listed}")
    model.load_state_dict(state_dict, strict=False)


def build_and_load(model_class: Any, config: Any, state_dict: dict[str, Tensor]) -> Any:
    """A new model in eval mode, with all tensors; it is not built if it would be much larger than they are.

    Raises:
        ValueError: as `load_strictly`.
    """
    size, present = _size_of(model_class, config).numbers, sum(tensor.numel() for tensor in state_dict.values())
    if size > present + _MAY_BE_MISSING:
        raise ValueError(f"the tensors of a {model_class.__name__} of {size:,} numbers. There are {present:,}")
    model = model_class(config)
    load_strictly(model, state_dict)
    return model.eval()


def _size_of(model_class: Any, config: Any) -> _Size:
    """How large a model is, buffers included, without the memory for it."""
    with torch.device("meta"):
        model = model_class(copy.deepcopy(config))
    tensors = [*model.parameters(), *model.buffers()]
    return _Size(sum(tensor.numel() for tensor in tensors), len(tensors))


def checkpoint_folder(source: str | os.PathLike, **hub_options: Any) -> Path:
    """The folder itself, or that of the Hub's cache which has the JSON files and safetensors of a repository.

    Args:
        source: a folder or a name on the Hub.
        hub_options: of `snapshot_download`.

    Raises:
        InvalidDataError: there is none.
    """
    if os.path.isdir(source):
        return Path(source)
    expected = "a folder with a checkpoint, or the name of one on the Hub"
    if os.path.lexists(source):
        raise InvalidDataError(source, expected, "something else than a folder")
    allowed = ["*.json", "*.safetensors"]
    try:
        download = snapshot_download(str(source), allow_patterns=allowed, ignore_patterns=["*/*"], **hub_options)
        return Path(download)
    except (OSError, ValueError) as error:
        raise InvalidDataError(source, expected, one_line(error)) from error


def load_checkpoint(model_class: Any, folder: Path, config: Any, **options: Any) -> Any:
    """A model with exactly the tensors of a checkpoint, which may have the older names that transformers knows.

    Args:
        model_class: of the model.
        folder: the checkpoint, see `checkpoint_folder`.
        config: of the model.
        options: others of `from_pretrained`.

    Raises:
        InvalidDataError: files that are missing, damaged or elsewhere; tensors that are missing, unexpected, of
            another shape or type, or not finite.
    """
    check_settings(folder)
    files = weight_files(folder)
    stored = {name: tensor for file in files for name, tensor in _read_header(file)}
    options |= {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
    options["config"] = config
    try:
        with quietly():
            size, present = _size_of(model_class, config), sum(tensor.size for tensor in stored.values())
            if size.numbers > present + _MAY_BE_MISSING:
                raise ValueError(f"config.json describes {size.numbers:,} numbers, and the weights are {present:,}")
            if size.tensors > 2 * len(stored) + _TENSORS_MAY_BE_MISSING:
                raise ValueError(f"config.json describes {size.tensors} tensors, and the weights are {len(stored)}")
            model, report = model_class.from_pretrained(folder, **options)
    except Exception as error:  # values of a config.json that do not fit raise anything
        raise InvalidDataError(folder, f"a checkpoint of {model_class.__name__}", one_line(error)) from error
    for name, expected, received in _misfits(model, report, stored):
        file = stored[name].file if name in stored else files[0] if len(files) == 1 else folder / INDEX
        raise InvalidDataError(file, expected, received)
    for file in files:
        _check_finite(file)
    return model


def check_settings(folder: Path) -> dict[str, Any]:
    """The content of config.json, after a look at the files of settings that transformers may read.

    Raises:
        InvalidDataError: they cannot be used, or they name weights elsewhere.
    """
    config = _read_json(folder / "config.json")
    _check_values(folder / "config.json", config)
    for name in ("preprocessor_config.json", "processor_config.json"):
        if os.path.lexists(folder / name):
            _check_values(folder / name, _read_json(folder / name))
    if (elsewhere := config.get("transformers_weights")) is not None:
        raise InvalidDataError(folder / "config.json", f"weights in {WEIGHTS} or {INDEX}", f"in {elsewhere!r:.100}")
    if os.path.lexists(folder / "adapter_config.json"):
        raise InvalidDataError(folder, "a whole model", "an adapter of another one (adapter_config.json)")
    return config


def _check_values(path: Path, value: Any, name: str = "") -> None:
    """Nothing, if no value of the settings, whatever they mean, could keep a program busy for years.

    Our own configurations have closer bounds, field by field.
    """
    most = _MOST_LAYERS if re.search("layers|depths?$|blocks|stages", name) else _MOST
    inside: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = [("" if name == "size" else name, item) for item in value]
        if name == "depths":
            value = sum(item for item in value if isinstance(item, int))
    if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= most):
        raise InvalidDataError(path, f"{name} of at most {most:,}", value)
    if name == "num_labels" and isinstance(value, int) and value > 65_535:
        raise InvalidDataError(path, "num_labels of at most 65,535", value)
    if name == "backbone" and isinstance(value, str) and not re.fullmatch(r"[\w.-]+", value):
        raise InvalidDataError(path, "the plain name of a backbone, not an address", value)
    if name == "id2label" and isinstance(value, dict) and not all(isinstance(item, str) for item in value.values()):
        raise InvalidDataError(path, "names of classes as text in id2label", list(value.values()))
    if name in ("device", "return_tensors") and value is not None:
        raise InvalidDataError(path, f"no {name}, which belongs to a call", value)
    if name == "size" and (pixels := pixels_of(value)) > MOST_PIXELS:
        raise InvalidDataError(path, f"a size of at most {MOST_PIXELS:,} pixels", f"{pixels:,}")
    for key, item in inside:
        _check_values(path, item, name if name == "label2id" else key)


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights of a checkpoint, each a regular file of the folder.

    Raises:
        InvalidDataError: there are none, or an index names files that cannot be.
    """
    if os.path.lexists(folder / WEIGHTS):
        files = [folder / WEIGHTS]
    elif os.path.lexists(folder / INDEX):
        files = _files_of_index(folder / INDEX)
    else:
        others = sorted(path.name for path in folder.glob("pytorch_model*"))
        received = f"{', '.join(others[:5])}, which could run code when they are read" if others else "neither"
        raise InvalidDataError(folder, f"weights in {WEIGHTS} or {INDEX}", received)
    for file in files:
        _check_file(file)
    return files


def _files_of_index(index: Path) -> list[Path]:
    names = _read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InvalidDataError(index, "a weight_map from names of tensors to names of files", f"{names!r:.100}")
    for tensor, name in names.items():
        plain = isinstance(name, str) and not {"/", "\\", "\0"} & set(name)
        if not plain or not name.endswith(".safetensors"):
            expected = f"for {tensor} the plain name of a .safetensors file of the same folder"
            raise InvalidDataError(index, expected, f"{name!r:.100}")
    return [index.parent / name for name in sorted(set(names.values()))]


def _check_file(path: Path) -> None:
    """A regular file; a link may lead to its own folder only, or to where the cache of the Hub keeps all content."""
    try:
        target = path.resolve()
        status = target.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        received = one_line(error) if os.path.lexists(path) else "nothing there"
        raise InvalidDataError(path, "an existing file", received) from error
    folder = path.parent.resolve()
    allowed = [folder, folder.parent.parent / "blobs"] if folder.parent.name == "snapshots" else [folder]
    if target.parent not in allowed:
        raise InvalidDataError(path, "a file of the folder itself", f"a link to {target}")
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for a writer for ever
        raise InvalidDataError(path, "a regular file", stat.filemode(status.st_mode))


def _read_json(path: Path) -> dict[str, Any]:
    _check_file(path)
    content = read_json(path, _MAX_JSON_BYTES)
    if not isinstance(content, dict):
        raise InvalidDataError(path, "a JSON object", content)
    return content


@contextmanager
def _opened(file: Path) -> Generator[Any]:
    try:
        with safe_open(file, framework="pt") as tensors:  # compares the header with the length of the file
            yield tensors
    except (OSError, SafetensorError) as error:
        raise InvalidDataError(file, "complete weights", one_line(error)) from error


def _read_header(file: Path) -> Iterator[tuple[str, StoredTensor]]:
    with _opened(file) as tensors:
        names = tensors.keys()
        if len(names) > _MAX_TENSORS:
            raise InvalidDataError(file, f"at most {_MAX_TENSORS} tensors", len(names))
        for name in names:
            tensor = tensors.get_slice(name)
            yield name, StoredTensor(file, tensor.get_dtype(), math.prod(tensor.get_shape()))


def _check_finite(file: Path) -> None:
    with _opened(file) as tensors:
        for name in tensors.keys():  # noqa: SIM118  it is no mapping
            tensor = tensors.get_tensor(name)
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise InvalidDataError(file, f"finite numbers in {name}", "NaN or infinity")


def _misfits(
    model: nn.Module, report: Mapping[str, Any], stored: Mapping[str, StoredTensor]
) -> Iterator[tuple[str, str, str]]:
    """(tensor, expected, received) of what is wrong. Names are the model's: those of the file, but for old ones."""
    if missing := sorted(name for name in report["missing_keys"] if not name.endswith(_COUNTER)):
        yield missing[0], f"the weights of {type(model).__name__}", f"{_listed(missing)} missing"
    if unexpected := sorted(report["unexpected_keys"]):
        yield unexpected[0], f"no tensors but those of {type(model).__name__}", _listed(unexpected)
    for name, received, expected in sorted(report["mismatched_keys"]):
        yield name, f"{name} of shape {list(expected)}", str(list(received))
    of_integers = {name for name, tensor in model.state_dict().items() if not tensor.is_floating_point()}
    for name, tensor in stored.items():
        whole = name in of_integers or name.endswith(_COUNTER)
        if whole == (tensor.dtype in _FLOATS):
            yield name, f"{name} of whole numbers" if whole else f"{name} of floating point numbers", tensor.dtype


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def one_line(error: BaseException) -> str:
    """The message of an error of another library, which may have many lines."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def quietly() -> Generator[None]:
    """Inside, transformers shows no bars and no table of tensors that do not fit: the error says it in one line."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
