"""What a request may cost, and how many there may be at once."""

from dataclasses import dataclass, fields

from ..export.handler import Limits


@dataclass(frozen=True)
class ServiceLimits:
    """Bounds of a service.

    Attributes:
        upload: bytes of the body of a request.
        pixels: of a picture, or of a frame of a video.
        pictures: in a batch.
        frames: of a video that are segmented.
        seconds: for a body to arrive, for waiting, and for being computed, each.
        concurrency: requests that are computed at once.
        queue: requests that wait for that.

    Raises:
        ValueError: one that is not positive (`queue` may be 0).
    """

    upload: int = 64 * 2**20
    pixels: int = Limits().pixels
    pictures: int = Limits().pictures
    frames: int = Limits().frames
    seconds: float = 60.0
    concurrency: int = 1
    queue: int = 8

    def __post_init__(self):
        for one in fields(self):
            value = getattr(self, one.name)
            if not (0 if one.name == "queue" else 1e-3) <= value < float("inf"):
                raise ValueError(f"{one.name} must be positive. Received: {value}")

    @property
    def admitted(self) -> int:
        """Requests whose body may be on its way, or that wait or are computed: each may hold `upload` bytes."""
        return 4 * (self.concurrency + self.queue)

    def of_request(self) -> Limits:
        """Those that the handler of an endpoint has, too."""
        return Limits(self.pictures, self.frames, self.pixels, self.upload)
