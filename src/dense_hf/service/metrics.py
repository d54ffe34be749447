"""Numbers of a service in the text format of Prometheus."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """What a service counts. Paths are those that it has; all others are one.

    Args:
        paths: of its routes.
        computing: how many requests are computed now.
        waiting: how many wait for that.
        ready: whether the model is loaded.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(
        self, paths: set[str], computing: Callable[[], int], waiting: Callable[[], int], ready: Callable[[], bool]
    ):
        self._paths, self._registry = paths, CollectorRegistry()
        kept: dict[str, Any] = {"registry": self._registry, "namespace": "dense_hf"}
        self._requests = Counter("requests", "Answered requests.", ("path", "status"), **kept)
        self._seconds = Histogram(
            "request_seconds", "From the first byte of a request to its answer.", ("path",), buckets=_SECONDS, **kept
        )
        for name, told, read in (
            ("computing", "Requests that are computed.", computing),
            ("waiting", "Requests that wait.", waiting),
            ("ready", "1 once the model is loaded.", ready),
        ):
            Gauge(name, told, **kept).set_function(read)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """A request has its answer."""
        path = path if path in self._paths else "other"
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)
