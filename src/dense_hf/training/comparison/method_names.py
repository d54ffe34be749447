"""Whether names of methods can be the rows of one table."""

from collections.abc import Collection, Mapping, Sequence


def check_methods(methods: Sequence[str], known: Collection[str], bases: Mapping[str, str]) -> None:
    """Nothing, if they can.

    Args:
        methods: what was asked for, in its order.
        known: all names that there are.
        bases: name of a row to that of the row that it builds on.

    Raises:
        ValueError: names that are none, appear twice or lack the row that they build on.
    """
    if unknown := [name for name in methods if name not in known]:
        raise ValueError(f"methods must be among {', '.join(known)}. Received: {', '.join(unknown)}")
    if len(set(methods)) < len(methods):
        raise ValueError(f"methods must be different. Received: {', '.join(methods)}")
    for place, name in enumerate(methods):
        if name in bases and bases[name] not in methods[:place]:
            received = ", ".join(methods)
            raise ValueError(f"{name} builds on {bases[name]}, which must stand before it. Received: {received}")
