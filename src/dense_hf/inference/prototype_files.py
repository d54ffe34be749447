"""Prototypes of videos (CFFM++) in a folder, one safetensors file per video, made once for training and test.

DIRECTORY/VIDEO.safetensors    "prototypes" [P,E], fp32, and in its metadata what made them
"""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..data.files import check_regular_file, write_file
from ..data.images import DEFAULT_MAX_PIXELS, open_image
from ..data.videos import Video
from ..errors import InvalidDataError
from ..video_segmentation.image_processing_clip import ClipImageProcessor
from ..video_segmentation.prototypes import cluster_frames, prototype_frame_numbers
from .locks import shared_folder
from .result_folders import describe_maker
from .shares import each_of_share

_MAX_FILE_BYTES = 2**28
_NAME, _MAKER = "prototypes", "made_by"


@dataclass(frozen=True)
class PrototypeMaker:
    """Makes the prototypes of videos.

    Attributes:
        model: a trained CFFM or CFFM++ in eval mode, on its device.
        processor: prepares frames as for the test.
        num_prototypes: P, 100 as released.
        num_frames: how many frames of a video are used, 10 as released.
        seed: decides where k-means starts, in every video the same.
        max_pixels: the most pixels of a frame, see `open_image`.
    """

    model: Any
    processor: ClipImageProcessor
    num_prototypes: int = 100
    num_frames: int = 10
    seed: int = 0
    max_pixels: int = DEFAULT_MAX_PIXELS

    @classmethod
    def of(cls, model: PreTrainedModel, processor: ClipImageProcessor, **options: Any) -> Self:
        """With the numbers that a CFFM++ was configured for, or those of the release for a CFFM.

        Args:
            model, processor: as above.
            options: values of other attributes; None is as if it were not there.
        """
        configured = {
            "num_prototypes": getattr(model.config, "num_prototypes", None),
            "num_frames": getattr(model.config, "num_prototype_frames", None),
        }
        given = {name: value for name, value in options.items() if value is not None}
        return cls(model, processor, **{name: value for name, value in configured.items() if value} | given)

    def __call__(self, video: Video) -> dict[str, Tensor]:
        """`{"prototypes": [P,E]}`, fp32, in main memory.

        Raises:
            InvalidDataError: a frame that cannot be used.
            ValueError: a video without frames.
        """
        numbers = prototype_frame_numbers(len(video.frames), self.num_frames)
        frames = (self._prepare(video.frames[number].image_path) for number in numbers)
        return {_NAME: cluster_frames(self.model, frames, self.num_prototypes, seed=self.seed).cpu()}

    def _prepare(self, path: Path) -> Tensor:
        picture = open_image(path, self.max_pixels)
        return self.processor([picture], return_tensors="pt")["pixel_values"][0, 0]

    def describe(self) -> str:
        """What prototypes depend on: settings, and a hash of processor and of the weights that make features.

        The branch of CFFM++ is not among them, so a CFFM and the CFFM++ that is trained on it share prototypes.
        """
        weights: Any = nn.ModuleDict({name: getattr(self.model, name) for name in ("encoder", "decoder")})
        digest = describe_maker("", weights, self.processor)["hash"]
        return f"weights and processor {digest}, {self.num_prototypes} of {self.num_frames} frames, seed {self.seed}"


class PrototypeFolder:
    """Prototypes that were made before.

    Args:
        directory: where the files are.
        maker: `PrototypeMaker.describe` of what must have made them.
    """

    def __init__(self, directory: str | os.PathLike, maker: str):
        self.directory = Path(directory)
        self.maker = maker

    def path(self, video: Video) -> Path:
        """The file of a video."""
        return self.directory / f"{video.video_id}.safetensors"

    def __call__(self, video: Video) -> dict[str, Tensor]:
        """`{"prototypes": [P,E]}` of a video.

        Raises:
            InvalidDataError: there is no such file, it is damaged, or something else made it.
        """
        path = self.path(video)
        check_regular_file(path, _MAX_FILE_BYTES)
        try:
            with safe_open(path, framework="pt") as file:
                maker, names = (file.metadata() or {}).get(_MAKER), list(file.keys())
                prototypes = file.get_tensor(_NAME) if names == [_NAME] else torch.empty(0)
        except (SafetensorError, OSError) as error:
            raise InvalidDataError(path, "a safetensors file", error) from error
        if prototypes.ndim != 2 or not prototypes.numel() or not torch.isfinite(prototypes).all():
            expected = f"one finite tensor {_NAME!r} [P,E]"
            raise InvalidDataError(
                path, expected, f"{names}, {list(prototypes.shape)}, or numbers that are not finite"
            )
        if maker != self.maker:
            raise InvalidDataError(path, f"prototypes made by {self.maker}; choose another folder", maker)
        return {_NAME: prototypes}


def make_prototypes(
    maker: PrototypeMaker, members: Sequence[Video], directory: str | os.PathLike, progress: bool = True
) -> PrototypeFolder:
    """Make the prototypes of all videos that have none yet, and wait until all processes have.

    Each process takes every n-th video. A file is written whole or not at all, so a stopped run goes on where it was.

    Args:
        maker: what makes them.
        members: the videos, the same list in every process. Those without frames are left out.
        directory: the folder, which need not be there. Files of videos in it are checked, not made again.
        progress: whether process 0 shows a bar.

    Returns:
        The folder, to read from.

    Raises:
        InvalidDataError: a frame that cannot be used; a file in the folder that is damaged or made by something else.
    """
    folder = PrototypeFolder(directory, maker.describe())
    folder.directory.mkdir(parents=True, exist_ok=True)
    state = PartialState()
    # trainings with several seeds may make the same prototypes at the same time
    mine = shared_folder(folder.directory, ".*.safetensors.*.partial") if state.is_main_process else nullcontext()
    with mine:
        state.wait_for_everyone()
        for video in each_of_share([video for video in members if video.frames], "Prototypes", " videos", progress):
            if folder.path(video).exists():
                folder(video)
                continue
            tensors = {name: tensor.contiguous() for name, tensor in maker(video).items()}
            write_file(folder.path(video), save(tensors, metadata={_MAKER: folder.maker}))
        state.wait_for_everyone()
    return folder
