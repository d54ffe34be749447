"""Features of images, computed once and kept within a bound of memory, and beyond it on disk when asked."""

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

DEFAULT_BYTES = 2**30  # 512 images of the released size: 512 channels of 32 x 32 floats are 2 MiB


class FeatureCache:
    """Tensors by name, the least recently used leave first.

    Without a folder they are computed again when they are asked for again; with one they are read back from it. Both
    give the tensor that was computed, bit for bit. The cache knows nothing of the model: use one per model, and none
    while weights change.

    ```python
    with FeatureCache(max_bytes=2**28, folder="scratch") as cache:
        features = cache.get("2007_000032", lambda: model.extract_features(pixel_values))
    ```

    Args:
        max_bytes: of main memory; 0 keeps nothing there.
        folder: where a folder of temporary files is made, removed by `close` or when the program ends. One that is
            killed leaves it behind (`features-*`).
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES, folder: str | os.PathLike | None = None):
        if max_bytes < 0:
            raise ValueError(f"max_bytes must be at least 0. Received: {max_bytes}")
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.num_computed = 0
        self._in_memory: OrderedDict[str, Tensor] = OrderedDict()
        self._on_disk: dict[str, Path] = {}
        self._folder = None
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._folder = TemporaryDirectory(prefix="features-", dir=folder)

    def get(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """The tensor called `name`, on the CPU; not to be changed in place."""
        if name in self._in_memory:
            self._in_memory.move_to_end(name)
            return self._in_memory[name]
        if name in self._on_disk:
            tensor = torch.load(self._on_disk[name], weights_only=True)
        else:
            tensor = compute().detach().cpu().contiguous()
            self.num_computed += 1
        self._keep(name, tensor)
        return tensor

    def close(self) -> None:
        """Forget everything, on disk too."""
        self._in_memory.clear()
        self._on_disk.clear()
        self.num_bytes = 0
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _keep(self, name: str, tensor: Tensor) -> None:
        self._in_memory[name] = tensor
        self.num_bytes += tensor.nbytes
        while self.num_bytes > self.max_bytes:
            oldest, leaving = self._in_memory.popitem(last=False)
            self.num_bytes -= leaving.nbytes
            if self._folder is not None and oldest not in self._on_disk:
                path = Path(self._folder.name, f"{len(self._on_disk)}.pt")
                with open(path, "wb") as file:  # torch itself does not say that a disk is full
                    torch.save(leaving.clone(), file)  # a view would take its whole storage along
                self._on_disk[oldest] = path
