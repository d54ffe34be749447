"""What stands before the routes: it measures every request, and refuses uploads before or while their bodies come."""

import asyncio
import time

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics
from .model import ServedModel
from .refusals import Refusal

_LINGER = 2.0  # seconds that the rest of a refused body is read, so that its sender hears why


class Guard:
    """An ASGI application around another one.

    Args:
        app: what answers.
        model: whose limits count.
        metrics: where each request is counted.
        uploads: paths of the routes that take a body.
    """

    def __init__(self, app: ASGIApp, model: ServedModel, metrics: Metrics, uploads: set[str]):
        self.app, self.model, self.metrics, self.uploads = app, model, metrics, uploads
        self._admitted = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.monotonic(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if scope["method"] == "POST" and scope["path"] in self.uploads:
                await self._upload(scope, receive, sending)
            else:
                await self.app(scope, receive, sending)
        finally:
            self.metrics.answered(scope["path"], status, time.monotonic() - begin)

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive, self.model.limits.upload, self.model.limits.seconds)
        try:
            self._check_headers({name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]})
        except Refusal as refusal:
            await body.discard()
            await JSONResponse({"error": refusal.detail}, refusal.status_code, refusal.headers)(scope, receive, send)
            return
        self._admitted += 1
        try:
            await self.app(scope, body.receive, send)
        finally:
            self._admitted -= 1

    def _check_headers(self, headers: dict[str, str]) -> None:
        """Nothing, if the body may come.

        Raises:
            Refusal: 413, 415 or 503.
        """
        self.model.check_ready()
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            raise Refusal(415, "The body of a request is multipart/form-data.", close=True)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.model.limits.upload:
            raise _too_large(self.model.limits.upload)
        if self._admitted >= self.model.limits.admitted:
            raise Refusal(503, "Too many uploads at once; come again later.", retry_after=1, close=True)


class _Body:
    """The body of a request, so long and so slow as it may be.

    Args:
        receive: gives its pieces.
        most: bytes.
        seconds: until all of it is there.
    """

    def __init__(self, receive: Receive, most: int, seconds: float):
        self._receive, self._most, self._until = receive, most, time.monotonic() + seconds
        self._come, self._complete = 0, False

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            Refusal: 408 or 413.
        """
        if self._complete:  # only the end of the connection can come now
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            raise Refusal(408, "The body of the request came too slowly.", close=True) from None
        self._complete = not message.get("more_body", False)
        self._come += len(message.get("body", b""))
        if self._come > self._most:
            await self.discard()
            raise _too_large(self._most)
        return message

    async def discard(self) -> None:
        """Read on for a moment, at most as much again as a body may have, and forget it."""
        come, until = 0, time.monotonic() + _LINGER
        while not self._complete and come <= self._most:
            try:
                message = await asyncio.wait_for(self._receive(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                return
            self._complete = not message.get("more_body", False)
            come += len(message.get("body", b""))


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"A request has at most {most:,} bytes.", close=True)
