"""Load on `dense-hf serve`: 8 clients on loopback, good requests alone, and beside hostile ones.

    python benchmarks/service.py checkpoints/iocformer-trees checkpoints/cffm-street checkpoints/mcis-crops

Each model gets a server of its own on a free port, which ends with the measurement. A client asks again as soon as it
has its answer; who is refused (503) counts and asks again at once. Prints a table: requests that were answered and
refused, seconds from a request to its answer (median, 95 %), answers per second, and how the hostile ones ended.
"""

import argparse
import http.client
import io
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from dense_hf.data import VideoWriter
from dense_hf.data.miniature_set import draw_scene
from dense_hf.data.miniature_videos import draw_video
from dense_hf.inference.checkpoints import task_of
from dense_hf.markdown import table

_BOUNDARY = "dense-hf"


class Request(NamedTuple):
    """A path, a body, and its type."""

    path: str
    body: bytes
    kind: str = f"multipart/form-data; boundary={_BOUNDARY}"


def form(path: str, **files: bytes) -> Request:
    """A request with these files."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="file"\r\n\r\n'.encode() + content
        for name, content in files.items()
    ]
    return Request(path, b"\r\n".join([*parts, f"--{_BOUNDARY}--\r\n".encode()]))


def ask(address: str, request: Request, timeout: float = 120) -> tuple[int, bytes]:
    """Status and body of the answer."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=timeout)
    try:
        method = "POST" if request.body else "GET"
        connection.request(method, request.path, request.body or None, {"Content-Type": request.kind})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def serving(
    model: str, *options: str, start: Callable[..., Any] = subprocess.Popen, **settings: Any
) -> Generator[tuple[str, Any]]:
    """Address and process of a server, once its model is loaded; it gets SIGTERM at the end.

    Args:
        model: of the command.
        options: of the command.
        start: as `subprocess.Popen`; `settings` are for it.
    """
    command = [sys.executable, "-m", "dense_hf", "serve", model, "--port", "0", *options]
    process = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)
    try:
        address = process.stdout.readline().split(" ")[0]
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(process.communicate()[1])
        yield address, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


class Load(NamedTuple):
    """What clients saw: seconds of each answer, how often which status came, and the seconds of all."""

    seconds: list[float]
    statuses: Counter[int]
    total: float


def load(address: str, request: Request, clients: int, requests: int) -> Load:
    """So many clients ask until so many requests have been answered or refused for good."""
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    left = iter(range(requests))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            while True:
                begin = time.perf_counter()
                status, _ = ask(address, request)
                with lock:
                    statuses[status] += 1
                    if status != 503:
                        seconds.append(time.perf_counter() - begin)
                        break

    begin = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return Load(seconds, statuses, time.perf_counter() - begin)


def hostile_requests(good: Request) -> list[Request]:
    """Each must be refused."""
    name = "images" if good.path == "/images" else good.path[1:]
    bomb = io.BytesIO()
    Image.new("1", (14_000, 14_000)).save(bomb, "PNG")
    return [
        form(good.path, **{name: b"text"}),
        form(good.path, **{name: bomb.getvalue()}),
        form(good.path, **{name: good.body[100:600]}),
        form(good.path, wrong=b"x"),
        form(good.path, **{name: bytes(3 * 2**20)}),
        Request(good.path, good.body[: len(good.body) // 2]),
        Request(good.path, b"{}", "application/json"),
        Request(good.path, b"x", "multipart/form-data"),
        Request("/../../etc/passwd", b""),
    ]


def slow_upload(address: str) -> int:
    """The status that a client gets that sends half of a request and waits."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=120) as connection:
        head = f"POST /image HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        connection.sendall(f"{head}Content-Length: 100\r\n\r\n--{_BOUNDARY}".encode())
        return int((connection.recv(100).split() or [b"", b"0"])[1])


def broken_connections(address: str, number: int) -> None:
    """Clients that are gone before they have sent all, or have their answer."""
    place = urlsplit(address)
    for content in (
        b"POST /image HTTP/1.1\r\nHost: x\r\n",
        b"\x00\xff" * 500,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        for _ in range(number):
            with socket.create_connection((place.hostname, place.port), timeout=120) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(content)


def harass(address: str, good: Request, rounds: int, ended: Counter[str]) -> None:
    """Send what is hostile, and count how it ended."""
    hostile = hostile_requests(good)
    for _ in range(rounds):
        for request in hostile:
            try:
                ended[str(ask(address, request)[0])] += 1
            except OSError:
                ended["cut"] += 1
        broken_connections(address, 3)
    if rounds:
        ended[str(slow_upload(address))] += 1


def good_request(task: str, folder: Path) -> Request:
    """A drawn picture of 256 x 256, or a video of 4 frames of 192 x 128."""
    generator = np.random.default_rng(0)
    if task == "video-semantic-segmentation":
        with VideoWriter(folder / "street.mp4", 10, (192, 128)) as writer:
            for frame in draw_video(generator, (192, 128), 4, noise=6.0)[0]:
                writer.write(frame)
        return form("/video", video=(folder / "street.mp4").read_bytes())
    picture = io.BytesIO()
    Image.fromarray(draw_scene(generator, (256, 256), 20, 2.0)[0]).save(picture, "JPEG")
    return form("/image", image=picture.getvalue())


def measure(model: str, clients: int, requests: int, options: Sequence[str]) -> list[list[object]]:
    """Two rows: good requests alone, and beside hostile ones."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        request = good_request(task_of(model), Path(folder))
    with serving(model, "--max-upload", "2", "--timeout", "20", *options) as (address, process):
        ask(address, request)  # the first one allocates
        for is_alone in (True, False):
            ended: Counter[str] = Counter()
            other = threading.Thread(target=harass, args=(address, request, 0 if is_alone else 3, ended))
            other.start()
            seen = load(address, request, clients, requests)
            other.join()
            if set(seen.statuses) - {200, 503} or any(int(one) >= 500 for one in ended if one not in ("cut", "503")):
                raise RuntimeError(f"answers of {model}: {seen.statuses}, hostile: {ended}")
            if ask(address, Request("/health", b""))[0] != 200 or process.poll() is not None:
                raise RuntimeError(f"the server of {model} is not well")
            middle, high = statistics.median(seen.seconds), statistics.quantiles(seen.seconds, n=20)[-1]
            rows.append(
                [
                    f"`{Path(model).name}` {request.path}" if is_alone else "beside hostile requests",
                    seen.statuses[200],
                    seen.statuses[503],
                    f"{middle:.3f}",
                    f"{high:.3f}",
                    f"{seen.statuses[200] / seen.total:.1f}",
                    ", ".join(f"{status}: {number}" for status, number in sorted(ended.items())),
                ]
            )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="folders of checkpoints")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=80, help="for each row (default: 80)")
    parser.add_argument("--concurrency", type=int, default=1, help="of the server (default: 1)")
    args = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = []
    for model in args.models:
        rows += measure(model, args.clients, args.requests, ["--concurrency", str(args.concurrency)])
    print(table(["", "answered", "refused", "median s", "95 % s", "per second", "hostile ones"], rows))


if __name__ == "__main__":
    main()
