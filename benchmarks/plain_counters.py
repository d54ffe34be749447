"""The counters of Table 2.3 in their plain form: the same weights, written down layer by layer as papers have them.

`plain_form(model)` is a function of pixels [B, 3, H, W] that gives the density map, the logits of pixels, or scores
and offsets of proposals. Attention is computed with whole matrices, the enlarged image of DSSI-Net as a whole.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def layers_of(model: Any) -> list[torch.nn.Module]:
    """Those of a VGG of timm, one after the other."""
    return list(model.backbone._backbone.children())


def density_counter(model: Any, pixels: Tensor) -> Tensor:
    """VGG, upsampling, convolutions (BL, NoisyCC, DM-Count, GL, KDMG, CSRNet, CAN)."""
    features = pixels
    for layer in layers_of(model):
        features = layer(features)
    if model.neck is not None:
        contexts, weights = [], []
        for index, (side, conv) in enumerate(zip((1, 2, 3, 6), model.neck.scale_convs)):
            pooled = F.adaptive_avg_pool2d(features, (side, side))
            context = F.interpolate(conv(pooled), size=features.shape[-2:], mode="bilinear", align_corners=False)
            if model.neck.shared:
                weight = torch.sigmoid(model.neck.weight_convs[0](features - context))
            else:
                weight = torch.sigmoid(model.neck.weight_convs[index](context - features))
            contexts.append(weight * context)
            weights.append(weight)
        total = sum(weights) if model.neck.shared else sum(weights) + 1e-12
        mean = sum(contexts) / total
        if model.neck.shared:
            features = F.relu(model.neck.bottleneck(torch.cat([mean, features], dim=1)))
        else:
            features = torch.cat([features, mean], dim=1)
    return head(model.head, features)


def head(layers: Any, features: Tensor) -> Tensor:
    """Upsampling, convolutions, and the map."""
    if layers.upsample is not None:
        corners = {"align_corners": True} if layers.upsample == "bilinear" else {}
        features = F.interpolate(features, scale_factor=2, mode=layers.upsample, **corners)
    for index, conv in enumerate(layers.convs):
        features = conv(features)
        features = F.relu(features if layers.norms is None else layers.norms[index](features))
    density = layers.output(features)
    return {"abs": torch.abs, "relu": torch.relu, None: lambda x: x}[layers.activation](density)


def mcnn(model: Any, pixels: Tensor) -> Tensor:
    """Three columns."""
    columns = []
    for column in model.columns:
        one, two, three, four = column.convs
        x = F.max_pool2d(F.relu(one(pixels)), 2)
        x = F.max_pool2d(F.relu(two(x)), 2)
        columns.append(F.relu(four(F.relu(three(x)))))
    return model.output(torch.cat(columns, dim=1))


def man(model: Any, pixels: Tensor) -> Tensor:
    """Regions by matrices that say which cell is left of and above which."""
    features = pixels
    for layer in layers_of(model):
        features = layer(features)
    batch, channels, height, width = features.shape
    tokens = features.flatten(2).transpose(1, 2)
    rows, columns = torch.arange(height * width) // width, torch.arange(height * width) % width
    before = ((rows[:, None] <= rows) & (columns[:, None] <= columns)).float()
    for layer in model.layers:
        attention = layer.attention
        parts = attention.in_proj(tokens).chunk(9, dim=-1)
        q, k, v, q1, k1, q2, k2, ql, kl = (
            part.view(batch, -1, attention.num_heads, channels // attention.num_heads).transpose(1, 2)
            for part in parts
        )
        one, two = (q1 @ k1.mT).softmax(dim=-1), (q2 @ k2.mT).softmax(dim=-1)
        region = (one @ before) * (two @ before.T) + (one @ before.T) * (two @ before)
        scale = (channels // attention.num_heads) ** -0.5
        scores = 0.1 * scale * (q @ k.mT) + scale * (ql @ kl.mT) * region
        attended = attention.out_proj((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))
        tokens = layer.attention_norm(tokens + attended)
        tokens = layer.final_norm(tokens + layer.fc2(F.relu(layer.fc1(tokens))))
    features = tokens.transpose(1, 2).unflatten(2, (height, width))
    size = [side // model.config.density_stride for side in pixels.shape[-2:]]
    return head(model.head, F.interpolate(features, size=size, mode="bilinear", align_corners=True))


def dssinet(model: Any, pixels: Tensor) -> Tensor:
    """Each size of the image through the layers that it needs, then the messages and the heads."""

    def stage(x: Tensor, number: int) -> Tensor:
        convs = list(model.backbone.stages[number].values())
        for index, conv in enumerate(convs):
            x = conv(x)
            if index < len(convs) - 1:
                x = model.slopes[number][index](x)
        return x

    def messages(passing: Any, features: list[Tensor]) -> list[Tensor]:
        for _ in range(passing.num_rounds):
            received = [
                sum(passing.messages[f"{j}_to_{i}"](other) for j, other in enumerate(features) if j != i)
                for i in range(len(features))
            ]
            features = [F.relu(x + passing.activation(message)) for x, message in zip(features, received)]
        return features

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2)

    large = stage(F.interpolate(pixels, scale_factor=2, mode="bilinear"), 0)
    large = stage(pool(model.slopes[0][-1](large)), 1)
    middle = stage(pixels, 0)
    small = stage(F.interpolate(pixels, scale_factor=0.5, mode="bilinear"), 0)
    large, middle = messages(model.passing[0], [large, middle])
    maps = [torch.cat([large, middle], dim=1)]
    large, middle, small = messages(model.passing[1], [stage(pool(large), 2), stage(pool(middle), 1), small])
    maps.append(torch.cat([large, middle, small], dim=1))
    features = [stage(pool(large), 3), stage(pool(middle), 2), stage(pool(small), 1)]
    large, middle, small = messages(model.passing[2], features)
    maps.append(torch.cat([large, middle, small], dim=1))
    middle, small = messages(model.passing[3], [stage(pool(middle), 3), stage(pool(small), 2)])
    maps += [torch.cat([middle, small], dim=1), model.slopes[3][-1](stage(pool(small), 3))]
    density = model.activation(model.heads[0](maps[4]))
    for index, refinement in enumerate(model.refinements):
        finer = F.interpolate(density, scale_factor=2, mode="bilinear")
        density = model.heads[index + 1](maps[3 - index]) + refinement(finer)
        density = F.relu(density) if index == 3 else model.activation(density)
    return density


def mspsnet(model: Any, pixels: Tensor) -> Tensor:
    """Three VGGs of their own, and what is made of their last features."""
    meeting = []
    for backbone, branch in zip(model.backbones, model.branches):
        x = pixels
        for number, stage in enumerate(backbone.stages):
            x = F.max_pool2d(x, 2) if number else x
            for conv in stage.values():
                x = F.leaky_relu(conv(x), 0.01)
        for conv in branch.convs:
            x = F.leaky_relu(conv(x), 0.01)
        branch.output(x)
        for conv in branch.halvings:
            x = F.leaky_relu(conv(x), 0.01)
        meeting.append(x)
    return model.output(torch.cat(meeting, dim=1))


def lcfcn(model: Any, pixels: Tensor) -> Tensor:
    """FCN-8s."""
    x, scores = pixels, []
    for stage in model.backbone.stages:
        for conv in stage.values():
            x = F.relu(conv(x))
        x = F.max_pool2d(x, 2, ceil_mode=True)
        scores.append(x)
    x = model.score(F.relu(model.fc7(F.relu(model.fc6(x)))))
    x = model.upsample(x)
    fourth = model.score_fourth(scores[3])[:, :, 5 : 5 + x.shape[2], 5 : 5 + x.shape[3]]
    x = model.upsample_fourth(x + fourth)
    third = model.score_third(scores[2])[:, :, 9 : 9 + x.shape[2], 9 : 9 + x.shape[3]]
    x = model.upsample_third(x + third)
    return x[:, :, 31 : 31 + pixels.shape[2], 31 : 31 + pixels.shape[3]]


def p2pnet(model: Any, pixels: Tensor) -> Tensor:
    """VGG-16 with batch norm, a pyramid of two levels, and two heads."""
    height, width = pixels.shape[-2:]
    x, maps = F.pad(pixels, (0, -width % 128, 0, -height % 128)), []
    for layer in layers_of(model):
        if isinstance(layer, torch.nn.MaxPool2d):
            maps.append(x)
        x = layer(x)
    fine, coarse = maps[-1], x
    above = F.interpolate(model.lateral_coarse(coarse), scale_factor=2, mode="nearest")
    features = model.smooth(model.lateral_fine(fine) + above)
    outputs = []
    for layers in (model.class_head, model.regression_head):
        one, two = layers.convs
        out = layers.output(F.relu(two(F.relu(one(features)))))
        outputs.append(out.permute(0, 2, 3, 1).reshape(len(out), -1, 2))
    return torch.cat([outputs[0].softmax(dim=-1), outputs[1] * model.config.offset_scale], dim=-1)


PLAIN: dict[str, Callable[[Any, Tensor], Tensor]] = {
    function.__name__: function for function in (density_counter, mcnn, man, dssinet, mspsnet, lcfcn, p2pnet)
}


def plain_form(model: Any) -> Callable[[Tensor], Tensor]:
    """The same function of the same weights."""
    return lambda pixels: PLAIN[model.config.model_type](model, pixels)
