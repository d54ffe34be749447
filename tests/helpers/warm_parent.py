"""A process that has imported the libraries, and forks the programs that tests start. `programs.py` talks to it.

It has run no tensor operation, started no thread of its own, and not imported dense_hf: that, and all that a program
does itself, happens after the fork. A program is a process like any other, with its own id, signals, working
directory, variables, streams and exit status; it ends as the interpreter ends.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import types

# what programs of this repository import; those that are absent here are left out
LIBRARIES = (
    "PIL.Image",
    "PIL.ImageDraw",
    "accelerate",
    "av",
    "concurrent.futures.process",
    "datasets",
    "defusedxml.ElementTree",
    "evaluate",
    "huggingface_hub",
    "jinja2",
    "multiprocessing.queues",
    "numpy",
    "psutil",
    "safetensors.torch",
    "scipy.ndimage",
    "scipy.optimize",
    "scipy.sparse.linalg",
    "timm",
    "torch",
    "torch._dynamo",
    "torch.distributed",
    "torchvision.transforms.v2",
    "tqdm.contrib.logging",
    "transformers.generation.continuous_batching",
    "transformers.hf_argparser",
    "transformers.models.auto",
    "transformers.models.conditional_detr.modeling_conditional_detr",
    "transformers.models.segformer.modeling_segformer",
    "transformers.pipelines",
    "transformers.trainer",
    "yaml",
)


def main() -> None:
    """Serve until nobody asks any more; a forked process returns from `serve` and becomes its program."""
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a Ctrl-C, pytest tells us by going away
    control = socket.socket(fileno=int(sys.argv[1]))
    if request := serve(control):
        become(json.loads(request))


def serve(control: socket.socket) -> str | None:
    """Fork for each message, whose descriptors are the request, the three streams and where the exit status goes."""
    running: dict[int, tuple[int, int]] = {}
    while True:
        ready = select.select([control, *running], [], [])[0]
        for descriptor in ready:
            if descriptor is not control:
                child, status = running.pop(descriptor)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                with contextlib.suppress(BrokenPipeError):  # nobody wants to know
                    os.write(status, f"{code}\n".encode())
                os.close(status)
                os.close(descriptor)
        if control not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(control, 1, 5)
        if not message:
            return None
        request, *streams, status = descriptors
        if not (child := os.fork()):
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            others = [one for pair in running.items() for one in (pair[0], pair[1][1])]
            for descriptor in (*streams, status, *others):
                os.close(descriptor)
            control.close()
            with open(request, encoding="utf-8") as file:
                return file.read()
        for descriptor in (request, *streams):
            os.close(descriptor)
        os.write(status, f"{child}\n".encode())
        running[os.pidfd_open(child)] = child, status


def become(request: dict) -> None:
    """Run a program where and as it was asked for, as `__main__`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in enumerate(("stdin", "stdout", "stderr")):  # ours are of other files: no pipes, say
        old = getattr(sys, name)
        unbuffered = name != "stdin" and old.write_through
        raw = os.fdopen(number, f"{old.mode}b", 0 if unbuffered else -1, closefd=False)
        lines = old.line_buffering or raw.isatty()
        new = io.TextIOWrapper(raw, old.encoding, old.errors, line_buffering=lines, write_through=unbuffered)
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None
    sys.modules["numpy"].random.seed()
    kind, program = request["program"]
    installed = sys.path[1:]
    if not request["site"]:  # as `python -S`: an editable install is found through site-packages, too
        installed = [path for path in installed if path.startswith(sys.base_prefix) and "site-packages" not in path]
    first = os.path.dirname(os.path.realpath(program)) if kind == "file" else "" if kind == "-c" else os.getcwd()
    named = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    # a folder of a .pth file that is there already is not added again
    sys.path[:] = [first, *named, *(path for path in installed if path not in named)]
    sys.argv = ["-c" if kind == "-c" else program, *request["arguments"]]
    importlib.invalidate_caches()
    if kind == "file":
        runpy.run_path(program, run_name="__main__")
    elif kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), sys.modules["__main__"].__dict__)


if __name__ == "__main__":
    main()
