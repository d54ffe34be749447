"""Loading converted tensors into a model: all of them, or an error that names what does not fit."""

from torch import Tensor, nn


def load_strictly(model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Load, or raise a `ValueError` that names every tensor that is missing, unexpected or of another shape.

    Counters of batch norm may be missing: no result depends on them.
    """
    expected = model.state_dict()
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    problems = {
        "missing": sorted(expected.keys() - counters - state_dict.keys()),
        "unexpected": sorted(state_dict.keys() - expected.keys()),
        "of another shape": [
            f"{name} {list(tensor.shape)} (expected {list(expected[name].shape)})"
            for name, tensor in state_dict.items()
            if name in expected and tensor.shape != expected[name].shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names)
        raise ValueError(f"exactly the tensors of the model. {listed}")
    model.load_state_dict(state_dict, strict=False)
