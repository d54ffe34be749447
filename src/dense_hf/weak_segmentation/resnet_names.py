"""Names of the tensors of ResNet in torchvision and in `transformers.ResNetBackbone`, which are ours."""

# torchvision's name of a part of a bottleneck -> ours
PARTS = {
    "conv1": "layer.0.convolution",
    "bn1": "layer.0.normalization",
    "conv2": "layer.1.convolution",
    "bn2": "layer.1.normalization",
    "conv3": "layer.2.convolution",
    "bn3": "layer.2.normalization",
    "downsample.0": "shortcut.convolution",
    "downsample.1": "shortcut.normalization",
}


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
    if not stage.startswith("layer") or part not in PARTS:
        return name
    return f"encoder.stages.{int(stage.removeprefix('layer')) - 1}.layers.{block}.{PARTS[part]}.{field}"
