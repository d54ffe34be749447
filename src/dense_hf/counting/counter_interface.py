"""What any counter is told and what it gives: labels, points in pixels, and the output of a forward.

IOCFormer has an interface of its own, of which this one is the general form: labels may have more and fewer columns,
and an output may have a density map, points, or both.

B batch, h x w density map, Q proposals, N annotated points of the fullest image (rows padded with -100), K classes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

LABEL_PADDING = -100.0
# Crops keep points outside of them whose surroundings they show: up to half the side of a crop, measured. What is
# further away was not divided by the sides.
LEAST_COORDINATE, LARGEST_COORDINATE = -1.0, 2.0


@dataclass
class ObjectCountingOutput(ModelOutput):
    """Output of a counter.

    Args:
        loss (`torch.Tensor` of shape `(1,)`, *optional*):
            What is trained on, when `labels` are given.
        loss_dict (`dict[str, torch.Tensor]`, *optional*):
            Its parts by name.
        logits (`torch.Tensor` of shape `(batch_size, num_proposals, K + 1)`, *optional*):
            Class scores of proposals, of a counter that has some; channel 0 is no object, channel k + 1 class k.
        pred_points (`torch.Tensor` of shape `(batch_size, num_proposals, 2)`, *optional*):
            (x, y) of proposals as fractions of the input's width and height.
        density_map (`torch.Tensor` of shape `(batch_size, K, h, w)`, *optional*):
            Objects of each class per cell; its sum is the count of a counter without points.
        blob_logits (`torch.Tensor` of shape `(batch_size, 1, height, width)`, *optional*):
            Above 0 in the blobs of a counter that paints one on each object.
        auxiliary_outputs (`dict[str, torch.Tensor]`, *optional*):
            What else a method predicts, by name.
        hidden_states (`tuple(torch.Tensor)`, *optional*):
            Feature maps, with `output_hidden_states=True`.
        attentions (`tuple(torch.Tensor)`, *optional*):
            Attention weights, with `output_attentions=True`, of a counter that has attention.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    pred_points: Tensor | None = None
    density_map: Tensor | None = None
    blob_logits: Tensor | None = None
    auxiliary_outputs: dict[str, Tensor] | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class CounterPreTrainedModel(PreTrainedModel):
    """What transformers asks about any counter of Table 2.3."""

    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image",)  # ty: ignore[invalid-assignment]  as the image models of transformers say it
    accepts_loss_kwargs = False


@dataclass
class Surroundings:
    """The image that an input was cut out of.

    Attributes:
        points: float32 [n, 2], all of it, in its own pixels.
        size: its height and width.
        offset: left and top of the input in it.
        classes: [n] of the points, or `None`.
    """

    points: Tensor
    size: tuple[int, int]
    offset: tuple[int, int]
    classes: Tensor | None = None

    def of_class(self, number: int) -> "Surroundings":
        """With the points of one class."""
        if self.classes is None:
            raise ValueError("Points of a class need image_points with classes. Received: none")
        return replace(self, points=self.points[self.classes == number], classes=None)


@dataclass
class PointTargets:
    """The labels of a batch, in pixels of the input.

    Attributes:
        points: per image float32 [n, 2] (x, y); some may lie outside of the input (see `density_targets`).
        distances: per image [n], mean distance to the 3 nearest; `None` if the labels do not say it.
        visible_shares: per image [n], how much of the surroundings of a point the input shows; `None` as above.
        image_short_sides: [B], the shorter side of the image that the input was cut out of.
        size: height and width of the input.
        classes: per image int64 [n], from 0 on; `None` of a model with one class.
        surroundings: the images that the inputs were cut out of; `None`: the inputs are whole images.
    """

    points: list[Tensor]
    distances: list[Tensor] | None
    visible_shares: list[Tensor] | None
    image_short_sides: Tensor
    size: tuple[int, int]
    classes: list[Tensor] | None = None
    surroundings: list["Surroundings"] | None = None

    def whole(self, image: int) -> tuple[Tensor, tuple[int, int], tuple[int, int, int, int]]:
        """Points and size of the whole image that an input was cut out of, and where in it the input lies.

        Density maps are made of whole images, as released: a point beside a crop reaches into it, and is a neighbor.

        Returns:
            Points [n, 2] in pixels of the image; its height and width; left, top, width and height of the input.
        """
        height, width = self.size
        if self.surroundings is None:
            return self.points[image], self.size, (0, 0, width, height)
        around = self.surroundings[image]
        return around.points, around.size, (*around.offset, width, height)

    def of_class(self, number: int) -> "PointTargets":
        """Those of one class."""
        if self.classes is None:
            raise ValueError("Points of a class need targets with classes. Received: none")
        own = [classes == number for classes in self.classes]
        columns: dict[str, Any] = {name: getattr(self, name) for name in ("points", "distances", "visible_shares")}
        chosen = {
            name: None if values is None else [value[rows] for value, rows in zip(values, own)]
            for name, values in columns.items()
        }
        around = self.surroundings and [one.of_class(number) for one in self.surroundings]
        return replace(self, classes=None, surroundings=around, **chosen)


def read_classes(labels: Tensor, class_labels: Tensor | None, num_labels: int) -> list[Tensor] | None:
    """The class of each annotated point, per image int64 [n].

    Args:
        labels: [B, N, columns], rows padded with -100.
        class_labels: [B, N] from 0 to K - 1; what it has in padded rows is ignored.
        num_labels: K.

    Returns:
        `None` if K is 1: there is nothing to tell apart.

    Raises:
        ValueError: classes that lack, that have another shape or that the model does not have.
    """
    if num_labels == 1:
        return None
    if class_labels is None or class_labels.shape != labels.shape[:2]:
        received = "none" if class_labels is None else list(class_labels.shape)
        raise ValueError(
            f"A model of {num_labels} classes needs class_labels of shape {list(labels.shape[:2])}. "
            f"Received: {received}"
        )
    annotated = (labels != LABEL_PADDING).any(dim=-1)
    classes = [row[kept].long() for row, kept in zip(class_labels, annotated)]
    for one in classes:
        if one.numel() and not (one.min() >= 0 and one.max() < num_labels):
            raise ValueError(
                f"class_labels must be from 0 to {num_labels - 1}. Received: {int(one.min())} to {int(one.max())}"
            )
    return classes


def read_labels(
    labels: Tensor,
    size: Sequence[int],
    image_short_sides: Tensor | None = None,
    class_labels: Tensor | None = None,
    num_labels: int = 1,
    image_points: Tensor | None = None,
) -> PointTargets:
    """Labels as lists of points in pixels.

    Args:
        labels: [B, N, 2 to 4], rows padded with -100: x / width, y / height, then mean distance to the 3 nearest /
            shorter side, then the visible share.
        size: height and width of the input.
        image_short_sides: [B] in pixels, of the images that the inputs were cut out of; `None`: the inputs are whole.
        class_labels, num_labels: see `read_classes`.
        image_points: [B, 2 + M, 2 or 3] of the images that the inputs were cut out of, padded with NaN: two opposite
            corners, then all points, x / width, y / height of the input, perhaps with their class; `None`: the inputs
            are whole.

    Raises:
        ValueError: another shape, or coordinates that were not divided by the sides.
    """
    if labels.ndim != 3 or not 2 <= labels.shape[-1] <= 4:
        raise ValueError(
            "labels must have shape [B, N, 2 to 4]: x, y, mean distance, visible share. "
            f"Received: {list(labels.shape)}"
        )
    height, width = int(size[0]), int(size[1])
    rows = [image[(image != LABEL_PADDING).any(dim=-1)] for image in labels.float()]
    for index, image in enumerate(rows):
        xy = image[:, :2]
        if xy.numel() and not (xy.min() >= LEAST_COORDINATE and xy.max() <= LARGEST_COORDINATE):
            raise ValueError(
                "labels must hold coordinates divided by the sides of the image, padded with -100. "
                f"Received in image {index} of the batch: {xy.min():g} to {xy.max():g}"
            )
    sides = torch.tensor([width, height], dtype=torch.float32, device=labels.device)
    columns = labels.shape[-1]
    if image_short_sides is None:
        image_short_sides = torch.full((len(rows),), float(min(height, width)), device=labels.device)
    return PointTargets(
        points=[_in_pixels(image[:, :2], sides) for image in rows],
        distances=[image[:, 2] * min(height, width) for image in rows] if columns > 2 else None,
        visible_shares=[image[:, 3] for image in rows] if columns > 3 else None,
        image_short_sides=image_short_sides.float(),
        size=(height, width),
        classes=read_classes(labels, class_labels, num_labels),
        surroundings=None if image_points is None else [_surroundings(image, sides) for image in image_points],
    )


def _surroundings(rows: Tensor, sides: Tensor) -> Surroundings:
    rows = rows[~rows[:, 0].isnan()].float()
    places, classes = _in_pixels(rows[:, :2], sides), rows[2:, 2].long() if rows.shape[1] > 2 else None
    first, last = places[:2].round().amin(dim=0), places[:2].round().amax(dim=0)
    (width, height), (left, top) = (last - first).long().tolist(), (-first).long().tolist()
    return Surroundings(places[2:] - first, (height, width), (left, top), classes)


def _in_pixels(shares: Tensor, sides: Tensor) -> Tensor:
    """Points in pixels, whole ones where annotations are: x / 1920 * 1920 is 47.999996 for one of 74 in float32."""
    points = shares * sides
    whole = points.round()
    return torch.where((points - whole).abs() < 1e-3, whole, points)


def see_apart(
    network: Callable[[Tensor], Sequence[Tensor]], pixel_values: Tensor, pixel_mask: Tensor | None
) -> list[Tensor]:
    """What a network makes of a batch whose padding no image sees: each gets what it would get alone.

    Layers with a bias fill padding with numbers that flow back into the image, and what depends on all of it (the
    context of CAN, the attention of MAN, sides that are halved) would be another. So images of one size are computed
    together, others apart.

    Args:
        network: [b, C, h, w] -> tensors [b, ...]; those with four axes are maps.
        pixel_values: [B, C, H, W].
        pixel_mask: [B, H, W], 1 for the image, which lies at the top left; `None`: there is no padding. Where it has
            another form, or is not known yet (a model that is compiled or exported), images see their padding.

    Returns:
        The tensors of the batch. Maps are 0 in the padding; what of an image's last cells reaches over the cells that
        it has in the batch, as where a network rounds up, is added to the last of these.
    """
    # 0.45 to 0.92 of the time (512 x 512 pixels, one thread, float32). Not in training: sums in another order move
    # gradients in which much cancels out (a slope of DSSI-Net by 1.5e-3), and wide networks gain nothing there.
    if pixel_values.device.type == "cpu" and not torch.is_grad_enabled():
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
    if pixel_mask is None:
        return list(network(pixel_values))
    sizes = None if torch.compiler.is_compiling() else _sizes_of_images(pixel_mask)
    if sizes is None:
        return [_without_padding(one, pixel_mask) if one.ndim == 4 else one for one in network(pixel_values)]
    whole = (pixel_values.shape[-2], pixel_values.shape[-1])
    groups = {size: [row for row, other in enumerate(sizes) if other == size] for size in sizes}
    if groups.keys() == {whole}:
        return list(network(pixel_values))
    outputs = [network(pixel_values[rows, :, : size[0], : size[1]]) for size, rows in groups.items()]
    order = torch.tensor([row for rows in groups.values() for row in rows], device=pixel_values.device).argsort()
    placed = []
    for parts in zip(*outputs):
        if parts[0].ndim == 4:
            for axis in (0, 1):
                side, largest = max((size[axis], part.shape[2 + axis]) for size, part in zip(groups, parts))
                cells = round(largest * whole[axis] / side)
                own = [min(cells, math.ceil(size[axis] * cells / whole[axis])) for size in groups]
                parts = [_fitted(part, 2 + axis, number, cells) for part, number in zip(parts, own)]
        placed.append(torch.cat(list(parts))[order])
    return placed


def _sizes_of_images(pixel_mask: Tensor) -> list[tuple[int, int]] | None:
    """Height and width of each image; `None` unless all lie at the top left."""
    shown = pixel_mask > 0
    down, across = shown.any(dim=2), shown.any(dim=1)
    sizes = torch.stack([down.sum(dim=1), across.sum(dim=1)], dim=1)
    y, x = (torch.arange(side, device=shown.device) for side in shown.shape[1:])
    at_top_left = (y < sizes[:, :1])[:, :, None] & (x < sizes[:, 1:])[:, None]
    if not torch.equal(shown, at_top_left) or not bool((sizes > 0).all()):
        return None
    return [(height, width) for height, width in sizes.tolist()]


def _fitted(part: Tensor, axis: int, own: int, cells: int) -> Tensor:
    """A map with `own` cells along an axis, what is over added to the last, and zeros up to `cells`."""
    if part.shape[axis] > own:
        over = part.narrow(axis, own - 1, part.shape[axis] - own + 1).sum(dim=axis, keepdim=True)
        part = torch.cat([part.narrow(axis, 0, own - 1), over], dim=axis)
    missing = list(part.shape)
    missing[axis] = cells - part.shape[axis]
    return torch.cat([part, part.new_zeros(missing)], dim=axis) if missing[axis] else part


def _without_padding(maps: Tensor, pixel_mask: Tensor) -> Tensor:
    """Maps [B, C, h, w] without the cells whose middles lie in the padding."""
    return maps * F.interpolate(pixel_mask[:, None].to(maps), size=maps.shape[-2:], mode="nearest-exact")
