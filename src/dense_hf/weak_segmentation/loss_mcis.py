"""Losses of MCIS (thesis section 3.3, Eq. 3.1, 3.5, 3.9 and 3.10).

B pairs, K classes. Labels are 0 or 1, several may be 1. All coefficients are 1, as in the thesis.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .configuration_mcis import MCISConfig
from .equivariance_mcis import equivariance_loss
from .outputs_mcis import MCISImageClassificationOutput


def sigmoid_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """L_CE of [B, K], the mean over images and classes (the thesis leaves the reduction open, this is as released)."""
    return F.multilabel_soft_margin_loss(logits.float(), labels)


def pair_loss(
    logits: Tensor, paired_logits: Tensor, labels: Tensor, paired_labels: Tensor, config: MCISConfig
) -> Tensor:
    """L_CE of both images of pairs, added up (Eq. 3.1, 3.5) or averaged (released code)."""
    total = sigmoid_cross_entropy(logits, labels) + sigmoid_cross_entropy(paired_logits, paired_labels)
    return total / 2 if config.loss_reduction == "mean" else total


def mcis_loss(
    outputs: MCISImageClassificationOutput,
    views: Sequence[MCISImageClassificationOutput],
    labels: Tensor,
    paired_labels: Tensor | None,
    config: MCISConfig,
    epoch: int | None = None,
    shrunk_maps: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 3.10, of the pairs and of each image with its views; without pairs, of each image alone.

    Args:
        outputs: logits of the pairs, [B, K] each.
        views: logits of each image (not used) and one of its views as a pair.
        labels, paired_labels: [B, K]
        config: which terms there are.
        epoch: counted from 0; before `config.contrastive_start_epoch` the contrastive terms are left out. `None` is
            an epoch that has them.
        shrunk_maps: [B, K, h', w'], class maps of smaller copies of the images; without them there is no term for
            equivariance.

    Returns:
        The sum and its terms, named as in [`MCISImageClassificationOutput`].

    Raises:
        ValueError: labels of another shape or with other values.
    """
    labels = checked_labels("labels", labels, outputs.logits)
    if outputs.paired_logits is None:
        terms = {"loss_basic": sigmoid_cross_entropy(outputs.logits, labels)}  # ty: ignore[invalid-argument-type]
    else:
        paired = checked_labels("paired_labels", paired_labels, outputs.paired_logits)
        terms = _pair_terms(outputs, labels, paired, config, epoch)
    for index, view in enumerate(views):
        basic = pair_loss(outputs.logits, view.paired_logits, labels, labels, config)  # ty: ignore[invalid-argument-type]
        terms[f"loss_view_{index}_basic"] = basic
        if view.co_attention_logits is not None:
            common = pair_loss(view.co_attention_logits, view.paired_co_attention_logits, labels, labels, config)  # ty: ignore[invalid-argument-type]
            terms[f"loss_view_{index}_co_attention"] = common
    if shrunk_maps is not None and outputs.activation_maps is not None:
        difference = equivariance_loss(outputs.activation_maps, shrunk_maps, labels)
        terms["loss_equivariance"] = config.equivariance_weight * difference
    return torch.stack(list(terms.values())).sum(), terms


def _pair_terms(
    outputs: MCISImageClassificationOutput, labels: Tensor, paired: Tensor, config: MCISConfig, epoch: int | None
) -> dict[str, Tensor]:
    """Terms of pairs: basic, common and, from its epoch on, contrastive."""
    terms = {"loss_basic": pair_loss(outputs.logits, outputs.paired_logits, labels, paired, config)}  # ty: ignore[invalid-argument-type]
    common = labels * paired
    if outputs.co_attention_logits is not None:
        terms["loss_co_attention"] = pair_loss(
            outputs.co_attention_logits,
            outputs.paired_co_attention_logits,  # ty: ignore[invalid-argument-type]
            common,
            common,
            config,
        )
    if epoch is not None and epoch < config.contrastive_start_epoch:
        return terms
    for name, logits, unshared in (
        ("loss_contrastive", outputs.contrastive_logits, labels - common),
        ("loss_paired_contrastive", outputs.paired_contrastive_logits, paired - common),
    ):
        # left out, not multiplied by 0: weight decay must not move a gate that nothing trains (released code)
        if logits is not None and (unshared.any() or not config.skip_empty_contrastive):
            terms[name] = sigmoid_cross_entropy(logits, unshared)
    return terms


def checked_labels(name: str, labels: Tensor | None, logits: Tensor | None) -> Tensor:
    """Labels as floats, if they are 0 or 1 and shaped like the logits; else `ValueError`."""
    if labels is None or logits is None or labels.shape != logits.shape:
        expected = "the logits" if logits is None else list(logits.shape)
        received = None if labels is None else list(labels.shape)
        raise ValueError(f"{name} must have the shape of the logits, {expected}. Received: {received}")
    labels = labels.float()
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"{name} must be 0 or 1. Received: {labels.min():g} to {labels.max():g}")
    return labels
