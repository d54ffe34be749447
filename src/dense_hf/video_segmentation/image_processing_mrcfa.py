"""Image processor of MRCFA: frames as the released code prepares them for the test (thesis section 5.4.1)."""

from .image_processing_clip import ClipImageProcessor


class MRCFAImageProcessor(ClipImageProcessor):
    r"""
    Prepares clips for [`MRCFAForVideoSemanticSegmentation`]; everything is described in [`ClipImageProcessor`].

    Example:

    ```python
    >>> processor = MRCFAImageProcessor()
    >>> frames = [Image.new("RGB", (1920, 1080)) for _ in range(4)]
    >>> processor(frames, return_tensors="pt")["pixel_values"].shape
    torch.Size([1, 4, 3, 480, 864])
    ```
    """


__all__ = ["MRCFAImageProcessor"]
