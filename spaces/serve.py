"""Start the three apps of this folder at once, each on a port of its own, until Ctrl-C.

    make spaces
    python spaces/serve.py --port 7860          # this port and the two after it

They listen on loopback only and need no network: the models are those of this clone, or those that the variables
COUNT_MODEL, VIDEO_MODEL and WEAK_LABELS_MODEL name. An app whose model is missing is left out, with the reason.
"""

import argparse
import importlib.util
import os
import sys
import threading
from pathlib import Path

# before Gradio and transformers look at them
os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SERVER_NAME": "127.0.0.1", "HF_HUB_OFFLINE": "1"}

from transformers.utils import logging

from dense_hf.spaces import launch

FOLDER = Path(__file__).resolve().parent
APPS = {
    "count": ("COUNT_MODEL", "iocformer-trees"),
    "video": ("VIDEO_MODEL", "cffm-street"),
    "weak_labels": ("WEAK_LABELS_MODEL", "mcis-crops"),
}


def load_app(name: str):
    """The module of one app; all of their files are called app.py, so none can be imported by name."""
    spec = importlib.util.spec_from_file_location(f"space_{name}", FOLDER / name / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=7860, help="of the first page (default: 7860)")
    options = parser.parse_args(arguments)
    logging.disable_progress_bar()  # of the weights; an address is easier to find without
    running = {}
    for number, (name, (variable, checkpoint)) in enumerate(APPS.items()):
        model = os.environ.get(variable) or str(FOLDER.parent / "checkpoints" / checkpoint)
        try:
            module = load_app(name)
            app = module.build(model)
            address = launch(app, module.MAX_FILE_SIZE, options.port + number, wait=False)
        except (ImportError, OSError, ValueError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
            continue
        running[name] = app
        print(f"{name}: {address}", flush=True)
    if not running:
        return 1
    print("Ctrl-C stops them.", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        for app in running.values():
            app.close(verbose=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
