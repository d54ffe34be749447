"""When two names of classes are one, for data and for the configurations of models."""

import unicodedata
from collections.abc import Iterable
from typing import Any


def one_name_twice(names: Iterable[Any]) -> tuple[str, str] | None:
    """The first two names of classes that are one: equal, or but for upper and lower case or the form in Unicode.

    Results are told, and models and data connected, by names. Columns of a table, files and people know no case, so
    that "cat" and "Cat" would be mistaken for each other somewhere.
    """
    seen: dict[str, str] = {}
    for name in map(str, names):
        key = unicodedata.normalize("NFKC", name).casefold().strip()
        if key in seen:
            return seen[key], name
        seen[key] = name
    return None
