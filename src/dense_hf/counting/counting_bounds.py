"""What settings of counters may be: names, and bounds where dense_hf is installed (see its `setting_bounds`)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig as BoundedConfig
else:
    try:
        from dense_hf.setting_bounds import BoundedConfig
    except ImportError:  # the copy beside a checkpoint does without
        from transformers import PreTrainedConfig as BoundedConfig


class CounterConfig(BoundedConfig):
    """What the configurations of all counters have: K classes (`num_labels`), one if nothing else is said."""

    counts_classes = False  # whether the model can tell more than one

    def __post_init__(self, **kwargs):
        if self.id2label is None:
            kwargs.setdefault("num_labels", 1)
        super().__post_init__(**kwargs)
        if self.num_labels != 1 and not self.counts_classes:
            raise ValueError(f"{self.model_type} counts one class, num_labels must be 1. Received: {self.num_labels}")

    def to_diff_dict(self) -> dict[str, Any]:
        """As in the parent, which leaves out two labels without names: it takes them for the default."""
        labels = {} if self.num_labels == 1 else {"id2label": self.id2label, "label2id": self.label2id}
        return super().to_diff_dict() | labels


# losses of density maps by the names that configurations have; "kernel_generation" needs a second network
DENSITY_LOSSES = (
    "sum_of_squares",
    "bayesian",
    "noisy_annotation",
    "distribution_matching",
    "generalized",
    "kernel_generation",
)


def check_settings(processor: Any, settings: Any) -> None:
    """See `dense_hf.setting_bounds.check_settings`."""
    check = getattr(BoundedConfig, "check_settings", None)
    if check is not None:
        check(processor, settings)


__all__ = ["DENSITY_LOSSES", "CounterConfig", "check_settings"]
