"""A model that computes in bfloat16, for who wants its results in float32."""

import torch
from accelerate.utils import convert_outputs_to_fp32


def in_bfloat16(model: torch.nn.Module) -> torch.nn.Module:
    """The same model, whose forward pass computes in bfloat16 what autocast does; its outputs are float32.

    Weights stay as they are. It is faster on GPUs and on CPUs that have instructions for it, slower on others.
    """
    device = next(model.parameters()).device.type
    model.forward = convert_outputs_to_fp32(torch.autocast(device, torch.bfloat16)(model.forward))
    return model
