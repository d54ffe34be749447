"""A service on a socket, until a signal ends it: what is computed then still gets its answer."""

import math
import socket
import threading
from collections.abc import Callable

import uvicorn

from .app import create_app
from .model import ServedModel


def serve(model: ServedModel, host: str, port: int, told: Callable[[str], None]) -> None:
    """Listen, load the model, and answer until SIGINT or SIGTERM, which are raised again at the end.

    A first signal waits for a model that is being loaded, a second one does not.

    Args:
        model: not loaded yet.
        host: name or address of this machine.
        port: 0 for any that is free.
        told: gets what people want to know: the address, and that the model is there.

    Raises:
        OSError: the port is taken, or no such host.
        ValueError: what `ServedModel.load` raises.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    failure: list[Exception] = []
    config = uvicorn.Config(
        create_app(model),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=math.ceil(model.limits.seconds),
        server_header=False,
    )
    server = uvicorn.Server(config)

    def load() -> None:
        try:
            model.load()
        except Exception as error:  # of the files of a stranger
            failure.append(error)
            server.should_exit = True
        else:
            if model.status == "ready":
                told("ready")

    with socket.create_server((host, port), family=family) as listening:
        shown = f"[{host}]" if ":" in host else host
        told(f"http://{shown}:{listening.getsockname()[1]} (Ctrl-C ends it)")
        loader = threading.Thread(target=load, name="load", daemon=True)
        try:
            loader.start()
            server.run(sockets=[listening])
        finally:
            model.stop()
            if loader.is_alive():  # an interpreter that ends below a thread which loads libraries can crash
                loader.join()
    if failure:
        raise failure[0]
