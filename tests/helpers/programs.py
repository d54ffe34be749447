"""How a test starts a program: a real process, without the seconds that importing the libraries takes.

`run` and `Program` are used like `subprocess.run` and `subprocess.Popen`, for commands that begin with
`sys.executable`. On Linux the process is forked from one that has imported the libraries and nothing of ours
(`warm_parent.py`); elsewhere it is a new interpreter. `run_processes` starts several as torchrun does.

Libraries read variables when they are imported (HF_HOME, OMP_NUM_THREADS, ...), so each set of variables has a warm
parent of its own, but for `HARMLESS`. That pays where several programs share them: `HOME` is a HF_HOME for all.
What a test says about imports, interpreters or torchrun itself is for `subprocess`, not for this.
"""

import atexit
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.distributed import TCPStore

# no library reads these when it is imported (KMP_: only that of Intel, which PyTorch's wheels for Linux have not)
HARMLESS = re.compile(
    r"PYTHONPATH|PYTEST_.*|ACCELERATE_.*|TORCHELASTIC_.*|(LOCAL_)?(RANK|WORLD_SIZE)|MASTER_\w+|DENSE_HF_.*"
    r"|HF_TOKEN|NO_PROXY|no_proxy|KMP_\w+"
)
FORKS = hasattr(os, "pidfd_open")
NEW_PROCESS = subprocess.Popen  # tests put `Program` in its place
WARM_PARENT = Path(__file__).with_name("warm_parent.py")
_parents: dict[frozenset, tuple[socket.socket, subprocess.Popen]] = {}
_home = tempfile.TemporaryDirectory(prefix="hf_home-")
HOME = _home.name


def empty_home() -> str:
    """`HOME`, with nothing in it."""
    shutil.rmtree(HOME)
    os.mkdir(HOME)
    return HOME


def warm_parent(env: Mapping[str, str]) -> socket.socket:
    """Where to ask the warm parent of these variables for a program; it ends when this process does."""
    own = {name: value for name, value in env.items() if not HARMLESS.fullmatch(name)}
    key = frozenset(own.items())
    if key not in _parents:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = NEW_PROCESS(
                [sys.executable, str(WARM_PARENT), str(theirs.fileno())],
                env=own,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        _parents[key] = ours, process
    return _parents[key][0]


@atexit.register
def end_warm_parents() -> None:
    """They end when nobody can ask any more."""
    for connection, process in _parents.values():
        connection.shutdown(socket.SHUT_RDWR)  # a process that was forked from this one may have it, too
        connection.close()
        process.wait()


class _Forked(NEW_PROCESS):
    """`subprocess.Popen` with another way to start a process and to hear of its end; the rest is that of Python."""

    def _execute_child(
        self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell, *streams
    ):
        child_in, our_in, our_out, child_out, our_error, child_error, *_ = streams
        words = [str(word) for word in args]
        assert words.pop(0) == sys.executable, "a program of this interpreter"
        assert (executable, preexec_fn, pass_fds, shell) == (None, None, (), False), "not offered"
        site = words[0] != "-S"
        first, *arguments = words if site else words[1:]
        program = (first, arguments.pop(0)) if first in ("-c", "-m") else ("file", first)
        env = dict(os.environ if env is None else env)
        request = {
            "program": program,
            "arguments": arguments,
            "site": site,
            "cwd": os.fspath(cwd or os.getcwd()),
            "env": env,
        }
        reading, writing = os.pipe()
        with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
            json.dump(request, file)
            file.seek(0)
            chosen = [own if own != -1 else number for number, own in enumerate((child_in, child_out, child_error))]
            socket.send_fds(warm_parent(env), [b"+"], [file.fileno(), *chosen, writing])
        pipes = ((child_in, our_in), (child_out, our_out), (child_error, our_error))
        devnull = getattr(self, "_devnull", None)
        for descriptor in {writing, devnull, *(theirs for theirs, ours in pipes if ours != -1)} - {None}:
            os.close(descriptor)
        self._closed_child_pipe_fds = True
        self._told = os.fdopen(reading, encoding="ascii")
        self.pid = int(self._told.readline() or 0)
        assert self.pid, "the warm parent has died"

    def _wait(self, timeout):
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._told.readline())
            self._told.close()
        return self.returncode

    def _internal_poll(self, _deadstate=None):
        try:
            return self._wait(0)
        except subprocess.TimeoutExpired:
            return None


Program = _Forked if FORKS else subprocess.Popen


def run(
    command: Sequence[object],
    *,
    input: str | bytes | None = None,
    capture_output: bool = False,
    check: bool = False,
    timeout: float | None = None,
    **settings,
) -> subprocess.CompletedProcess:
    """As `subprocess.run`."""
    if capture_output:
        settings |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        settings["stdin"] = subprocess.PIPE
    with Program([str(word) for word in command], **settings) as process:
        try:
            out, error = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, error)
    if check:
        done.check_returncode()
    return done


def run_processes(
    number: int, command: Sequence[object], *, env: Mapping[str, str], check: bool = True, **settings
) -> subprocess.CompletedProcess:
    """Run so many processes of a group, with the variables that torchrun gives them; one that fails ends the others.

    Args:
        number: How many; 1 is a program alone.
        command: As of a `Program`.
        env: Variables besides those of the group.
        check: Whether a failure is an error.
        settings: `cwd`.

    Returns:
        As of `subprocess.run(..., text=True, capture_output=True)`; what all of them wrote is in one text.
    """
    if number == 1:
        return run(command, env=env, check=check, text=True, capture_output=True, **settings)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    group = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
    }
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        ranks = [
            Program(
                [str(word) for word in command],
                env={**env, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=out,
                stderr=error,
                **settings,
            )
            for rank in range(number)
        ]
        try:
            while any(process.poll() is None for process in ranks) and not any(process.poll() for process in ranks):
                for process in ranks:
                    try:
                        process.wait(0.02)
                    except subprocess.TimeoutExpired:
                        continue
        finally:
            for process in ranks:
                if process.poll() is None:
                    process.kill()
                process.wait()
        code = next((process.returncode for process in ranks if process.returncode), 0)
        out.seek(0)
        error.seek(0)
        done = subprocess.CompletedProcess(command, code, out.read(), error.read())
    if check and code:
        raise AssertionError(f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done
