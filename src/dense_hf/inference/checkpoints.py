"""The one way to a trained model, from a folder or a name on the Hub: strictly, see `strict_loading`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    Pipeline,
    PreTrainedModel,
)
from transformers.utils import logging

from ..auto import AutoModelForObjectCounting
from ..bfloat16 import in_bfloat16
from ..data.class_names import check_class_names, require_distinct_names
from ..errors import InvalidDataError
from ..methods import COUNTING, VIDEO, WEAK, methods
from ..pipelines import (
    ObjectCountingPipeline,
    VideoSemanticSegmentationPipeline,
    WeaklySupervisedSegmentationPipeline,
)
from ..setting_bounds import check_types
from ..strict_loading import check_settings, checkpoint_folder, load_checkpoint, one_line
from ..video_segmentation.image_processing_clip import ClipImageProcessor

if TYPE_CHECKING:
    from ..counting.image_processing_iocformer import IOCFormerImageProcessor

logger = logging.get_logger(__name__)


def load_model(
    source: str | os.PathLike,
    expected: Any,
    kind: str,
    device: str | torch.device | None = None,
    processor_class: Any = AutoImageProcessor,
    **processor_options: Any,
) -> tuple[Any, Any]:
    """A trained model in eval mode, and its processor. No code of the checkpoint is run.

    Args:
        source: a folder or a name on the Hub.
        expected: the class of the model that it must be, an Auto class that knows several, or a mapping from classes
            of configurations to those of models.
        kind: what that is, with an article, for the message.
        device: where the model shall be; by default in main memory.
        processor_class: of its processor.
        processor_options: what the processor shall have instead of the values that were saved with it.

    Raises:
        InvalidDataError: no checkpoint, one of another kind, or one that is damaged or incomplete; the message has
            the file and the tensor.
        ValueError: no such device.
    """
    folder = checkpoint_folder(source)
    stated = check_settings(folder).get("model_type")
    if not isinstance(expected, Mapping):
        expected = getattr(expected, "_model_mapping", {getattr(expected, "config_class", None): expected})
    if (
        isinstance(stated, str)
        and stated in CONFIG_MAPPING
        and stated not in {config_class.model_type for config_class in expected}
    ):
        raise InvalidDataError(source, kind, stated)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # values that do not fit raise anything
        raise InvalidDataError(folder / "config.json", f"the configuration of {kind}", one_line(error)) from error
    if type(config) not in expected:
        raise InvalidDataError(source, kind, config.model_type)
    names = [str(name) for name in (config.id2label or {}).values()]
    require_distinct_names(folder / "config.json", names)
    try:
        check_class_names(folder / "config.json", names)
    except InvalidDataError as error:  # somebody else's model may still be of use
        logger.warning(f"{error}. Tables and files by class may be wrong")
    processor = load_processor(processor_class, folder, processor_options)
    model = load_checkpoint(expected[type(config)], folder, config=config).eval()
    try:
        return model if device is None else model.to(device), processor
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA
        raise ValueError(f"device must be one of this machine. Received: {device} ({one_line(error)})") from error


def load_processor(processor_class: Any, folder: Path, options: dict[str, Any]) -> Any:
    """The processor of a checkpoint.

    Args:
        processor_class: of the processor.
        folder: of the checkpoint, see `checkpoint_folder`.
        options: what it shall have instead of the values that were saved.

    Raises:
        InvalidDataError: it is missing or has settings that cannot be.
    """
    try:
        if processor_class is AutoImageProcessor:
            processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, **options)
            if hasattr(processor, "valid_kwargs"):
                check_types(type(processor), processor.to_dict())  # ours have done it
            return processor
        return processor_class.from_pretrained(folder, **options)
    except Exception as error:  # as above
        changed = "".join(f", with {name}={value}" for name, value in options.items())
        path = folder / "preprocessor_config.json"
        raise InvalidDataError(path, f"the settings of an image processor{changed}", one_line(error)) from error


def best_device() -> str:
    """A GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_counter(
    source: str | os.PathLike,
    device: str | torch.device | None = None,
    bf16: bool = False,
    **processor_options: Any,
) -> tuple[Any, "IOCFormerImageProcessor"]:
    """A model that counts objects, and its processor. Other arguments and errors as for [`load_model`].

    Args:
        bf16: whether a forward pass computes in bfloat16 what autocast does; weights and outputs stay float32.
    """
    kind = "a model that counts objects"
    model, processor = load_model(source, AutoModelForObjectCounting, kind, device, **processor_options)
    if bf16:
        in_bfloat16(model)
    return model, processor


def load_segmenter(
    source: str | os.PathLike, device: str | torch.device | None = None
) -> VideoSemanticSegmentationPipeline:
    """The pipeline of a model that segments video or images. Arguments and errors as for [`load_model`]."""
    kind, device = "a model that segments", device or best_device()
    if check_settings(checkpoint_folder(source)).get("model_type") == "videomt":  # its processor is one of videos
        from transformers import VideomtForUniversalSegmentation

        from ..video_segmentation.streaming_videomt import VideomtFrames

        model, processor = load_model(source, VideomtForUniversalSegmentation, kind, device, VideomtFrames)
    else:
        model, processor = load_model(source, AutoModelForSemanticSegmentation, kind, device)
    return VideoSemanticSegmentationPipeline(model=model, image_processor=processor, device=model.device)


def load_video_model(
    source: str, test_scale: Sequence[int] | None = None, device: str | torch.device | None = None
) -> tuple[PreTrainedModel, Any]:
    """A trained model in eval mode, and the processor that prepares frames for it.

    Args:
        source: a folder or a name on the Hub.
        test_scale: long and short side that frames fit. By default those of the checkpoint, or 853 and 480 where it
            has others (a SegFormer of images may say 512 x 512).
        device: as for [`load_model`].

    Raises:
        InvalidDataError: as [`load_model`].
        ValueError: sides or a device that cannot be.
    """
    expected, names = _models_of(VIDEO)
    model, processor = load_model(source, expected, f"one of {names}", device, ClipImageProcessor)
    if test_scale is not None:
        if len(test_scale) != 2 or min(test_scale) < 1:
            raise ValueError(f"test_scale must be two whole numbers from 1 on. Received: {list(test_scale)}")
        processor.size = {"longest_edge": max(test_scale), "shortest_edge": min(test_scale)}
    elif processor.size.longest_edge is None or processor.size.shortest_edge is None:
        processor.size = ClipImageProcessor.size
    return model, processor


def load_mcis(source: str | os.PathLike, device: str | torch.device | None = None) -> tuple[Any, Any]:
    """MCIS, or another classifier of its task, in eval mode, and its processor. As [`load_model`] otherwise."""
    expected, names = _models_of(WEAK)
    return load_model(source, expected, f"a classifier ({names})", device)


def task_of(source: str | os.PathLike) -> str:
    """Which pipeline a checkpoint is for, by its settings alone: object-counting, video-semantic-segmentation (also of
    a model that sees every picture alone) or weakly-supervised-segmentation.

    Raises:
        InvalidDataError: no checkpoint, or one of another kind.
    """
    stated = check_settings(checkpoint_folder(source)).get("model_type")
    row = methods().get(stated) if isinstance(stated, str) else None
    if row is not None and row.task in (COUNTING, WEAK):
        return row.task
    segments = {config.model_type for config in AutoModelForSemanticSegmentation._model_mapping} | {"videomt"}
    if stated in segments:
        return VIDEO
    raise InvalidDataError(source, "a model that counts, segments or finds classes", stated)


def load_pipeline(source: str | os.PathLike, device: str | torch.device | None = None) -> Pipeline:
    """The pipeline of a checkpoint, see [`task_of`]. Arguments and errors as for [`load_model`]."""
    task, device = task_of(source), device or best_device()
    if task == VIDEO:
        return load_segmenter(source, device)
    model, processor = load_counter(source, device) if task == COUNTING else load_mcis(source, device)
    pipeline_class = ObjectCountingPipeline if task == COUNTING else WeaklySupervisedSegmentationPipeline
    return pipeline_class(model=model, image_processor=processor, device=model.device)


def _models_of(task: str) -> tuple[dict[Any, Any], str]:
    """The classes of configurations of a task to those of their models, and the names of these."""
    known = methods(task)
    return {method.config_class: method.model_class for method in known.values()}, ", ".join(known)
