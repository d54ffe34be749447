"""`dense-hf serve`: requests of HTTP in; JSON out."""

import argparse
from typing import Any

from ..inference.console import say, shown
from .common import add_device_option, check_device, loading
from .errors import CommandError

_EXAMPLES = """\
examples:
  a counter, for programs of this machine
    dense-hf serve checkpoints/iocformer
    curl -F image=@reef.jpg -F threshold=0.4 http://127.0.0.1:8000/image
    curl -F images=@a.jpg -F images=@b.jpg http://127.0.0.1:8000/images

  a model of video, at most 300 frames a request, for other machines (there is no password: put a proxy before it)
    dense-hf serve checkpoints/cffm --host 0.0.0.0 --max-frames 300
    curl -F video=@street.mp4 -F every=5 http://192.0.2.7:8000/video

  related pictures, with the classes of each
    dense-hf serve checkpoints/mcis
    curl -F images=@a.jpg -F images=@b.jpg -F labels=cat -F "labels=cat;dog" http://127.0.0.1:8000/images

Answers are those of the handler.py of pushed models: an object for a picture, a list for several and for a video.
/openapi.json describes them. What cannot be answered gets 4xx or 5xx and {"error": "why"}; 503 says in Retry-After
when to come again. /health is 200 once the model is loaded, /metrics is for Prometheus.

Ctrl-C and SIGTERM: nothing new is taken, what is computed is answered. A second Ctrl-C ends at once.

exit code: 2 not possible, 130 Ctrl-C, 143 SIGTERM
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the program."""
    parser = subparsers.add_parser(
        "serve",
        help="answer requests of HTTP with a model",
        description="Answer requests of HTTP with a model: pictures, batches and videos in, JSON out. Needs "
        "pip install dense_hf[service]; videos need dense_hf[video], too.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its name on the Hub")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1, this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free (default: 8000)")
    add_device_option(parser)
    parser.add_argument(
        "--concurrency", type=int, default=1, metavar="N", help="requests that are computed at once (default: 1)"
    )
    parser.add_argument(
        "--queue", type=int, default=8, metavar="N", help="requests that wait; more are refused (default: 8)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="for a body to arrive, for waiting, and for being computed, each (default: 60)",
    )
    parser.add_argument("--max-upload", type=int, default=64, metavar="MB", help="of a request (default: 64)")
    parser.add_argument(
        "--max-pixels", type=int, metavar="N", help="of a picture or a frame (default: 89,478,485, as elsewhere)"
    )
    parser.add_argument("--max-images", type=int, metavar="N", help="in a batch (default: 64)")
    parser.add_argument("--max-frames", type=int, metavar="N", help="of a video that are segmented (default: 1000)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    try:
        from ..service import ServedModel, ServiceLimits, serve
    except ImportError as error:
        if error.name is None:  # it is there, but broken, such as a torchvision that was built for another torch
            raise CommandError(shown(str(error))) from error
        raise CommandError(f"{error.name} is missing: pip install dense_hf[service]") from error
    given = {
        "pixels": args.max_pixels,
        "pictures": args.max_images,
        "frames": args.max_frames,
        "upload": args.max_upload * 2**20,
        "seconds": args.timeout,
        "concurrency": args.concurrency,
        "queue": args.queue,
    }
    try:
        limits = ServiceLimits(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise CommandError(shown(str(error))) from error
    if not 0 <= args.port < 65536:
        raise CommandError(f"--port is 0 to 65535. Received: {args.port}")
    check_device(args.device)
    with loading(args.model):
        model = ServedModel(args.model, limits, args.device)
        if args.max_frames is not None and model.task != "video-semantic-segmentation":
            raise CommandError(f"--max-frames is for models that segment. Received: one for {model.task}")
        try:
            serve(model, args.host, args.port, say)
        except OSError as error:
            raise CommandError(f"--host {shown(args.host)}, --port {args.port}: {error.strerror}") from error
    return 0
