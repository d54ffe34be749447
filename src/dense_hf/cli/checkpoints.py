"""Loading the checkpoint that `--model` names."""

from typing import Any

from .errors import CommandError


def load_complete(model_class: Any, name: str, config: Any, device: str | None) -> Any:
    """A model with all of its weights, ready to predict, on the device that is asked for or the best there is.

    Weights are read from safetensors only: reading one runs no code of the file.

    Raises:
        CommandError: missing weights.
        OSError, ValueError, RuntimeError: no checkpoint there, weights of other sizes, an impossible device.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, report = model_class.from_pretrained(name, config=config, use_safetensors=True, output_loading_info=True)
    if report["missing_keys"]:
        raise CommandError(f"--model {name}: weights are missing: {', '.join(sorted(report['missing_keys']))}")
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
