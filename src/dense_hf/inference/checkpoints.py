"""Loading the checkpoint that `--model` names."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig, PreTrainedModel

from ..cli.errors import CommandError
from ..methods import METHODS
from ..video_segmentation.image_processing_clip import ClipImageProcessor
from ..weak_segmentation.image_processing_mcis import MCISImageProcessor
from ..weak_segmentation.modeling_mcis import MCISForImageClassification


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


def load_video_model(source: str, test_scale: Sequence[int] | None = None) -> tuple[PreTrainedModel, Any]:
    """A trained model in eval mode, and the processor that prepares frames for it.

    Args:
        source: a folder or a name on the Hub.
        test_scale: long and short side that frames fit. By default those of the checkpoint, or 853 and 480 where it
            has others (a SegFormer of images may say 512 x 512).

    Raises:
        OSError: no such checkpoint.
        ValueError: a checkpoint of another kind of model.
    """
    config = AutoConfig.from_pretrained(source)
    if config.model_type not in METHODS:
        raise ValueError(f"{source} must be one of {', '.join(METHODS)}. Received: {config.model_type}")
    model_class: Any = METHODS[config.model_type].model_class
    processor: Any = ClipImageProcessor.from_pretrained(source)
    if test_scale is not None:
        if len(test_scale) != 2 or min(test_scale) < 1:
            raise ValueError(f"test_scale must be two whole numbers from 1 on. Received: {list(test_scale)}")
        processor.size = {"longest_edge": max(test_scale), "shortest_edge": min(test_scale)}
    elif processor.size.longest_edge is None or processor.size.shortest_edge is None:
        processor.size = ClipImageProcessor.size
    return model_class.from_pretrained(source, config=config).eval(), processor


def check_classes(model: MCISForImageClassification, class_names: tuple[str, ...]) -> None:
    """Nothing, if the classes of the data are those of the model. A model may have no names, only numbers.

    Raises:
        ValueError: another number, or other names or order.
    """
    known = [name for _, name in sorted((model.config.id2label or {}).items())]
    unnamed = known == [f"LABEL_{class_id}" for class_id in range(len(known))]
    if len(known) != len(class_names) or not (unnamed or known == list(class_names)):
        raise ValueError(
            "the data must have the classes of the model, in their order (classes.txt says it). The model has "
            f"{len(known)}: {', '.join(known[:30])}. Received: {len(class_names)}: {', '.join(class_names[:30])}"
        )


def load_mcis(source: str) -> tuple[MCISForImageClassification, MCISImageProcessor]:
    """A trained classifier in eval mode, and its processor. Arguments and errors as for [`load_trained`]."""
    return load_trained(source, MCISForImageClassification, MCISImageProcessor, "an MCIS")


def load_trained(source: str, model_class: Any, processor_class: Any, name: str) -> tuple[Any, Any]:
    """A trained model in eval mode, and its processor.

    Args:
        source: a folder or a name on the Hub.
        model_class, processor_class: of the model that it must be.
        name: of that model, with an article.

    Raises:
        OSError: no such checkpoint.
        ValueError: another kind of model, or weights that are missing.
    """
    config = AutoConfig.from_pretrained(source)
    if config.model_type != model_class.config_class.model_type:
        raise ValueError(f"{source} must be {name}. Received: {config.model_type}")
    model, report = model_class.from_pretrained(source, config=config, output_loading_info=True)
    if report["missing_keys"]:
        raise ValueError(f"{source} must have all weights. Received: none for {sorted(report['missing_keys'])[:5]}")
    return model.eval(), processor_class.from_pretrained(source)
