"""Batch norm that is trained, in runs of several processes, and what is not trained."""

import torch
from accelerate import PartialState
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

logger = logging.get_logger(__name__)


def with_synchronized_norms(model: PreTrainedModel, world_size: int, device_type: str) -> PreTrainedModel:
    """The model with SyncBatchNorm where several processes train it, as released: a process has two clips only.

    Torch has it for GPUs alone. On CPUs every process normalizes with its own samples, and the statistics of the first
    one are kept.
    """
    if world_size < 2 or not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return model
    if device_type == "cpu":
        if PartialState().is_main_process:
            logger.warning("Batch norm is not synchronized between processes on CPUs; each sees its own samples only.")
        return model
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def share_statistics(model: nn.Module, world_size: int) -> None:
    """All processes take the batch statistics of the first, which are those that are saved."""
    if world_size > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)


def freeze(encoder: nn.Module) -> None:
    """Keep an encoder as it is: its weights, and the statistics of its batch norms, which work as in evaluation."""
    encoder.requires_grad_(False)
    # of the encoder, because `with_synchronized_norms` replaces the norms
    encoder.register_forward_pre_hook(_norms_as_in_evaluation)


def is_frozen(encoder: nn.Module) -> bool:
    """Whether `freeze` was called."""
    return _norms_as_in_evaluation in encoder._forward_pre_hooks.values()


def _norms_as_in_evaluation(encoder: nn.Module, _: object) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
