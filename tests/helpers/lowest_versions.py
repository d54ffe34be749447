"""Prints the lowest versions that setup.cfg allows, as constraints for pip: `make test-lowest`."""

import configparser
import re
from pathlib import Path

SETUP = Path(__file__).parents[2] / "setup.cfg"


def lowest_versions(path: Path = SETUP) -> list[str]:
    """`name==version` of every requirement, those of the extras among them.

    Raises:
        ValueError: a requirement that names no lowest version, or two that name different ones.
    """
    setup = configparser.ConfigParser()
    setup.read(path, encoding="utf-8")
    texts = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    found: dict[str, str] = {}
    for line in "\n".join(texts).splitlines():
        requirement = line.strip()
        if not requirement or requirement.startswith(("#", "dense_hf[")):
            continue
        match = re.fullmatch(r"([\w.-]+)[>=]=([\w.]+)(?:,<[\w.]+)?", requirement)
        if match is None or found.setdefault(match[1], match[2]) != match[2]:
            raise ValueError(f"a requirement needs one lowest version, name>=version. Received: {requirement}")
    return [f"{name}=={version}" for name, version in found.items()]


if __name__ == "__main__":
    print("\n".join(lowest_versions()))
