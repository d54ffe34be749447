"""A Chromium for the tests: that of the machine or, without root, one of Debian's packages, unpacked into the venv.

Playwright fetches browsers from a place of its own, which is no package registry; where somebody ran
`playwright install chromium`, that one is taken.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Playwright

from dense_hf.data import new_directory

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium-headless-shell",)
FOLDER = Path(sys.prefix) / "chromium"
ARGUMENTS = [
    "--no-sandbox",  # its sandbox needs rights that containers do not have; it only ever sees our own pages
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Chromium(NamedTuple):
    """The program, and the environment that it needs beside that of the test."""

    program: str
    environment: Mapping[str, str]


class NoChromium(Exception):
    """There is no browser here, and none can be fetched."""


def find_chromium(playwright: Playwright) -> Chromium:
    """One that is there already, else Debian's.

    Raises:
        NoChromium: neither can be had.
    """
    if os.path.exists(playwright.chromium.executable_path):
        return Chromium(playwright.chromium.executable_path, {})
    for name in PROGRAMS:
        if program := shutil.which(name):
            return Chromium(program, {})
    if not FOLDER.is_dir():
        download(FOLDER)
    libraries = {str(path.parent) for path in FOLDER.rglob("*.so*")}
    fonts = FOLDER / "fonts.conf"
    environment = {"LD_LIBRARY_PATH": ":".join(sorted(libraries)), "FONTCONFIG_FILE": str(fonts)}
    return Chromium(str(FOLDER / "usr" / "lib" / "chromium" / PROGRAMS[0]), environment)


def download(folder: Path) -> None:
    """Unpack Chromium, and what of Debian it needs and this machine lacks, into a new folder. Nothing is installed."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise NoChromium("there is none here, nor apt-get and dpkg-deb to fetch one")
    with new_directory(folder) as root:
        for name in ("state/lists/partial", "cache/archives/partial"):
            (root / name).mkdir(parents=True)
        own = [f"--option=Dir::Cache={root}/cache", "--option=Debug::NoLocking=true"]
        own_lists = [*own, f"--option=Dir::State::lists={root}/state/lists"]
        get = ["install", "--yes", "--no-install-recommends", "--download-only", *PACKAGES]
        # with the machine's lists of packages, or else, if they are old or none, with fresh ones
        if not run(["apt-get", *own, *get]) and not (
            run(["apt-get", *own_lists, "update"]) and run(["apt-get", *own_lists, *get])
        ):
            raise NoChromium("Debian's packages cannot be had here")
        for package in (root / "cache" / "archives").glob("*.deb"):
            run(["dpkg-deb", "--extract", str(package), str(root)])
        shutil.rmtree(root / "cache")
        shutil.rmtree(root / "state")
        (root / "fonts.conf").write_text(
            '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
            f"<dir>/usr/share/fonts</dir><dir>{folder}/usr/share/fonts</dir><cachedir>{folder}/fonts-cache</cachedir>"
            "</fontconfig>"
        )


def run(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=300).returncode == 0
