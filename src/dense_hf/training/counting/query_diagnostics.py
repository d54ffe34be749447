"""Do the queries of IOCFormer look where they point, and do their points move? (thesis section 2.4.3)

Two numbers that show at once why points train badly on few images: a decoder whose attention is as far from its
references as chance would have it, and points that are fixed places which the scores switch on and off.

B images, Q queries, S tokens.
"""

from typing import Any

import torch
from torch import Tensor

from ...counting.modeling_iocformer import IOCFormerForObjectCounting
from ...counting.positions_iocformer import cell_centers

NEAR_SHARE = 24 / 256  # of the tile's side: a nucleus or a tree crown and what is around it
LEAST_TIMES_CHANCE = 2.0
# Queries that are closer than this to each other need not move: 700 of them are 10 px apart in a tile of 256.
FREE_SPACING_SHARE = 12 / 256
LEAST_MOVEMENT = 1 / 8  # of the spacing of queries


@torch.no_grad()
def look_at_queries(model: Any, pixel_values: Tensor) -> dict[str, float]:
    """What the decoder does with a batch, in evaluation mode.

    Args:
        model: any model; there is something to say of IOCFormer and CLTR only.
        pixel_values: [B, 3, t, t], at least 2 different images.

    Returns:
        - `query_movement`: the standard deviation over images of a query's point, in px, the mean of all queries.
        - `attention_near_reference`: the share of the last layer's attention within 24 of 256 px of its reference.
        - `attention_near_chance`: the share that attention spread evenly would have there.

        Nothing for other models, for a model without points, and for a single image.
    """
    if (
        not isinstance(model, IOCFormerForObjectCounting)
        or not model.config.regression_branch
        or len(pixel_values) < 2
    ):
        return {}
    seen: dict[str, Any] = {}
    attention: Any = model.decoder.layers[-1].get_submodule("encoder_attn")
    hook = attention.register_forward_pre_hook(lambda _, arguments, kwargs: seen.update(kwargs), with_kwargs=True)
    features: list[Tensor] = []
    of_features = model.input_projection.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    was_training = model.training
    model.eval()
    try:
        outputs = model(pixel_values)
        query, key = attention.queries_and_keys(
            **{name: value for name, value in seen.items() if name in _QUERIES_AND_KEYS}
        )
    finally:
        model.train(was_training)
        hook.remove()
        of_features.remove()
    weights = torch.einsum("bqhm,bshm->bhqs", query.float(), key.float()).mul(attention.scaling).softmax(dim=-1)
    places = cell_centers(features[0].float())
    near = torch.cdist(outputs.reference_points[0].float(), places) <= NEAR_SHARE
    points = outputs.pred_points[..., :2].float() * pixel_values.shape[-1]
    return {
        "query_movement": float(points.std(dim=0).mean()),
        "attention_near_reference": float((weights * near).sum(dim=-1).mean()),
        "attention_near_chance": float(near.float().mean()),
    }


_QUERIES_AND_KEYS = (
    "hidden_states",
    "encoder_hidden_states",
    "query_sine_embed",
    "encoder_position_embeddings",
    "query_position_embeddings",
)


def what_is_wrong(seen: dict[str, float], config: Any) -> list[str]:
    """A sentence for each failure that the numbers of [`look_at_queries`] show."""
    problems = []
    near, chance = seen["attention_near_reference"], seen["attention_near_chance"]
    if near < LEAST_TIMES_CHANCE * chance:
        problems.append(
            f"The decoder does not look at its references: {near:.1%} of its attention is near them, chance is "
            f"{chance:.1%}"
        )
    spacing = config.tile_size / config.num_queries**0.5
    if spacing > FREE_SPACING_SHARE * config.tile_size and seen["query_movement"] < LEAST_MOVEMENT * spacing:
        problems.append(
            f"Points do not follow what is in the image: those of a query move {seen['query_movement']:.1f} px "
            f"between images, queries are {spacing:.0f} px apart"
        )
    return problems
