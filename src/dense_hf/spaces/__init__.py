"""What the Gradio apps of `spaces/` share: `pip install dense_hf[spaces]`.

A Space is pushed as a folder of its own, so its app imports this instead of a file beside it.
"""

from .launching import default_model, launch, page_or_reason, read_options, space
from .uploads import image_upload, number_between, read_upload, refusals, saved_download, uploaded

__all__ = [
    "default_model",
    "image_upload",
    "launch",
    "number_between",
    "page_or_reason",
    "read_options",
    "read_upload",
    "refusals",
    "saved_download",
    "space",
    "uploaded",
]
