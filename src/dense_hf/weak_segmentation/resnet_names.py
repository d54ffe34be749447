"""Names of the tensors of ResNet in torchvision, in Caffe, and in `transformers.ResNetBackbone`, which are ours."""

from collections.abc import Iterator

# torchvision's name of a part of a bottleneck, ours, and that of Caffe's layer behind "res", "bn" or "scale"
PARTS = (
    ("conv1", "layer.0.convolution", "branch2a"),
    ("bn1", "layer.0.normalization", "branch2a"),
    ("conv2", "layer.1.convolution", "branch2b"),
    ("bn2", "layer.1.normalization", "branch2b"),
    ("conv3", "layer.2.convolution", "branch2c"),
    ("bn3", "layer.2.normalization", "branch2c"),
    ("downsample.0", "shortcut.convolution", "branch1"),
    ("downsample.1", "shortcut.normalization", "branch1"),
)


def rename_torchvision_resnet(name: str) -> str:
    """Our name for a tensor of torchvision's `resnet50`, `resnet101` or `resnet152`; others are returned unchanged.

    "layer3.0.conv2.weight" is "encoder.stages.2.layers.0.layer.1.convolution.weight" here.
    """
    module, _, field = name.rpartition(".")
    if module == "conv1":
        return f"embedder.embedder.convolution.{field}"
    if module == "bn1":
        return f"embedder.embedder.normalization.{field}"
    stage, _, rest = module.partition(".")
    block, _, part = rest.partition(".")
    ours = {theirs: our for theirs, our, _ in PARTS}
    if not stage.startswith("layer") or part not in ours:
        return name
    return f"encoder.stages.{int(stage.removeprefix('layer')) - 1}.layers.{block}.{ours[part]}.{field}"


def caffe_resnet_names(depths: list[int] | tuple[int, ...]) -> dict[str, str]:
    """Our names by those of the layers of Caffe's ResNet, with the fields of PyTorch.

    The batch norm of Caffe is two layers: "bn2a_branch1.running_mean" and "bn2a_branch1.running_var" go with
    "scale2a_branch1.weight" and "scale2a_branch1.bias". The blocks of a stage are called a, b, c, or, of a long one in
    the middle, a, b1, b2, ... (ResNet-101 and 152).

    Args:
        depths: blocks of the four stages.
    """
    names = dict(_caffe_pair("conv1", "bn_conv1", "scale_conv1", "embedder.embedder.", "convolution", "normalization"))
    for stage, depth in enumerate(depths):
        letters = "abcdefghijklmnopqrstuvwxyz"[:depth]
        numbered = stage in (1, 2) and max(depths) > len("abcdef")  # ResNet-50 has six blocks, with letters
        for block in range(depth):
            label = f"{stage + 2}{(f'b{block}' if block else 'a') if numbered else letters[block]}"
            prefix = f"encoder.stages.{stage}.layers.{block}."
            for (_, convolution, branch), (_, norm, _) in zip(PARTS[::2], PARTS[1::2]):
                if branch == "branch1" and block:
                    continue  # only the first block changes the number of channels
                layers = (f"{kind}{label}_{branch}" for kind in ("res", "bn", "scale"))
                names.update(_caffe_pair(*layers, prefix, convolution, norm))
    return names


def _caffe_pair(layer: str, norm: str, scale: str, prefix: str, ours: str, our_norm: str) -> Iterator[tuple[str, str]]:
    """(Caffe's name, our name) of the tensors of a convolution and its batch norm."""
    yield f"{layer}.weight", f"{prefix}{ours}.weight"
    for module, fields in ((norm, ("running_mean", "running_var")), (scale, ("weight", "bias"))):
        yield from ((f"{module}.{field}", f"{prefix}{our_norm}.{field}") for field in fields)
