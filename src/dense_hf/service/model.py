"""The model of a service, and who may use it: so many requests at once, so many that wait, and each for so long."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import torch

from ..data import VideoReader
from ..errors import InvalidDataError
from ..export.handler import Answers
from ..inference.checkpoints import load_pipeline, task_of
from ..inference.stored import StoredPicture, open_picture, opened_picture
from .limits import ServiceLimits
from .refusals import Refusal

_GRACE = 2.0  # seconds that a computation has to notice that its time is over


class _OutOfTime(Exception):
    """A request has had its seconds."""


class ServedModel:
    """A checkpoint that answers requests, once it is loaded.

    Args:
        source: folder of a checkpoint, or its name on the Hub. Its code is not run.
        limits: of a request, and of how many there are.
        device: as for `load_pipeline`.

    Attributes:
        task: of its pipeline.
        status: "loading", "ready" or "stopping".

    Raises:
        InvalidDataError: no checkpoint, or one of a kind that has no pipeline.
    """

    def __init__(self, source: str, limits: ServiceLimits | None = None, device: str | None = None):
        self.source, self.limits, self.device = source, limits or ServiceLimits(), device
        self.task = task_of(source)
        self.status: Literal["loading", "ready", "stopping"] = "loading"
        self._answers: Answers | None = None
        self._workers = ThreadPoolExecutor(self.limits.concurrency, "model")
        self._lock = threading.Lock()
        self._inside = self._computing = 0
        self._mean_seconds = 1.0
        self._until = threading.local()

    def load(self) -> None:
        """Load the model.

        Raises:
            InvalidDataError: it is damaged or incomplete.
            ValueError: no such device.
        """
        pipeline = load_pipeline(self.source, self.device)
        for part in (pipeline.model, *pipeline.model.children()):  # each pass of a batch of tiles looks at the time
            part.register_forward_pre_hook(lambda *_: self._watch())
        self._answers = Answers(self.task, pipeline, self.limits.of_request(), self._watch)
        if self.status == "loading":  # and not stopped meanwhile
            self.status = "ready"

    def stop(self) -> None:
        """Take no more requests, and end those that are computed at their next batch or frame."""
        self.status = "stopping"
        self._workers.shutdown(wait=False, cancel_futures=True)

    @property
    def computing(self) -> int:
        """Requests that are computed."""
        return self._computing

    @property
    def waiting(self) -> int:
        """Requests that wait for others."""
        return self._inside - self._computing

    def check_ready(self) -> None:
        """Nothing, if a request may come.

        Raises:
            Refusal: 503, the model is being loaded, or the service stops.
        """
        if self.status != "ready":
            raise Refusal(503, f"The service is {self.status}.", retry_after=5)

    async def pictures(self, contents: Sequence[Callable[[], bytes]], parameters: dict[str, Any]) -> list[Any]:
        """What the handler of an endpoint answers to a batch. Each picture is read by `open_image`.

        Raises:
            Refusal: 422 for what is wrong with a picture or parameters, 503 and 504 as `run`.
        """

        def work(answers: Answers) -> list[Any]:
            stored = (StoredPicture(f"picture {number}", [], content) for number, content in enumerate(contents, 1))
            opened = (open_picture(one, max_pixels=self.limits.pixels) for one in stored)
            return answers.of_pictures(opened, len(contents), parameters)

        return await self.run(work)

    async def video(self, content: Callable[[], bytes], parameters: dict[str, Any]) -> list[Any]:
        """What the handler answers to a video, which `VideoReader` reads. Raises as `pictures`."""

        def work(answers: Answers) -> list[Any]:
            stored = StoredPicture("video", [], content)
            with opened_picture(stored, VideoReader, max_pixels=self.limits.pixels) as video:
                found = video.with_errors()
                frames = (stored.named(one) if isinstance(one, InvalidDataError) else one for one in found)
                return answers.of_video(frames, parameters, video.num_frames)

        return await self.run(work)

    async def run(self, work: Callable[[Answers], list[Any]]) -> list[Any]:
        """Do the work of a request in its turn.

        Raises:
            Refusal: 422 for its ValueErrors; 503, with when to come again, if too many wait, it has waited for all of
                its time, or memory is short; 504 if it takes longer than it may.
        """
        self.check_ready()
        with self._lock:
            if self._inside >= self.limits.concurrency + self.limits.queue:
                raise self._busy()
            self._inside += 1
        future = self._workers.submit(self._computed, work)
        future.add_done_callback(self._left)
        waiting = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait({waiting}, timeout=self.limits.seconds)
            if not done and not future.cancel():  # it does not wait any more
                done, _ = await asyncio.wait({waiting}, timeout=self.limits.seconds + _GRACE)
                if not done:
                    raise _OutOfTime
            if future.cancelled():  # before its turn came, or because the service stops
                raise self._busy()
            return waiting.result()
        except _OutOfTime:
            told = f"It takes longer than {self.limits.seconds:g} s; send fewer or smaller pictures or frames."
            raise Refusal(504, told) from None
        except (MemoryError, torch.OutOfMemoryError):
            raise Refusal(503, "The memory is too small for this request now.", retry_after=10) from None
        except ValueError as error:
            raise Refusal(422, str(error)) from error

    def _computed(self, work: Callable[[Answers], list[Any]]) -> list[Any]:
        if self._answers is None:
            raise RuntimeError("no model")
        begin = time.monotonic()
        self._until.value = begin + self.limits.seconds
        with self._lock:
            self._computing += 1
        try:
            return work(self._answers)
        finally:
            with self._lock:
                self._computing -= 1
                self._mean_seconds += 0.2 * (time.monotonic() - begin - self._mean_seconds)

    def _left(self, future: Future) -> None:
        with self._lock:
            self._inside -= 1

    def _watch(self) -> None:
        """Called by whoever computes, again and again."""
        if self.status == "stopping" or time.monotonic() > getattr(self._until, "value", math.inf):
            raise _OutOfTime

    def _busy(self) -> Refusal:
        seconds = math.ceil(self._mean_seconds * max(1, self._inside) / self.limits.concurrency)
        return Refusal(503, "Too many requests wait already; come again later.", retry_after=max(1, seconds))
