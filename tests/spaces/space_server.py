"""The three pages as `make spaces` serves them, in a process that notes whom it talks to, and a browser for them."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from chromium import ARGUMENTS, find_chromium
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[2]
_NOTES = "DENSE_HF_NOTES"
# run by Python at its start; "ready" shows that it was
_NOTE_TAKER = f"""
import os, sys
def note(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host not in (None, "", "127.0.0.1", "::1", "localhost", "0.0.0.0"):
        open(os.environ["{_NOTES}"], "a").write(f"{{event}} {{host}}\\n")
open(os.environ["{_NOTES}"], "a").write("ready\\n")
sys.addaudithook(note)
"""


@contextmanager
def serve_pages(folder: Path) -> Generator[dict[str, str]]:
    """Name -> address. Every host but loopback that the server looks up or calls has a line in folder/notes.txt.

    Args:
        folder: for what the server leaves behind.
    """
    (folder / "sitecustomize.py").write_text(_NOTE_TAKER)
    paths = [str(folder), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    changes = {"PYTHONPATH": os.pathsep.join(paths), _NOTES: str(folder / "notes.txt"), "TMPDIR": str(folder)}
    with open(folder / "errors.txt", "w") as errors:
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "spaces" / "serve.py"), "--port", str(free_ports(3))],
            cwd=folder,
            env={**os.environ, **changes},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # a job in the background ignores SIGINT, and so would what it starts
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        addresses = {}
        for line in server.stdout:
            if line.startswith("Ctrl-C"):
                break
            name, _, address = line.strip().partition(": ")
            addresses[name] = address
        else:
            raise RuntimeError((folder / "errors.txt").read_text())
        yield addresses
        server.send_signal(signal.SIGINT)
        if server.wait(timeout=60):
            raise RuntimeError(f"exit status {server.returncode}: {(folder / 'errors.txt').read_text()}")
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@contextmanager
def open_browser() -> Generator[Browser]:
    """A headless Chromium.

    Raises:
        NoChromium: there is none.
    """
    with sync_playwright() as playwright:
        chromium = find_chromium(playwright)
        environment = {**os.environ, **chromium.environment}
        browser = playwright.chromium.launch(executable_path=chromium.program, args=ARGUMENTS, env=environment)
        yield browser
        browser.close()


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports of loopback that nobody listens on."""
    for first in range(20000, 60000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for number, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + number))
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
        return first
    raise RuntimeError("no free ports")
