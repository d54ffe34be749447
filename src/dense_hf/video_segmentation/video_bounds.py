"""The bounds of settings of models of video, where dense_hf is installed (see its `setting_bounds`)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig as BoundedConfig
else:
    try:
        from dense_hf.setting_bounds import BoundedConfig
    except ImportError:  # the copy beside a checkpoint does without
        from transformers import PreTrainedConfig as BoundedConfig


def check_settings(processor: Any, settings: Any) -> None:
    """See `dense_hf.setting_bounds.check_settings`."""
    check = getattr(BoundedConfig, "check_settings", None)
    if check is not None:
        check(processor, settings)


__all__ = ["BoundedConfig", "check_settings"]
