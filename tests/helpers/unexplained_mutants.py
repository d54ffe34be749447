"""Says which changed forms of the code no test has noticed, behind `mutmut run`; those that cannot be noticed are not
named: tests/mutation/explained.yaml has them, each with its reason.

    python unexplained_mutants.py [--list]

--list prints all that survive in the form of that file. The exit status is 1 if there is one without a reason, or a
reason for something that does not survive.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

EXPLAINED = Path(__file__).parents[1] / "mutation" / "explained.yaml"
NOT_NOTICED = ("survived", "no tests", "timeout", "suspicious")


def main() -> int:
    """Compare, and print."""
    survivors = [change_of(name) for name in not_noticed()]
    if "--list" in sys.argv:
        print(yaml.safe_dump([list(change) for change in survivors], allow_unicode=True, width=1000))
        return 0
    groups = yaml.safe_load(EXPLAINED.read_text(encoding="utf-8"))
    explained = {tuple(change) for group in groups for change in group["mutants"]}
    for title, changes in (
        ("no test notices", [one for one in survivors if one not in explained]),
        ("explained, but noticed or gone", sorted(explained - set(survivors))),
    ):
        for where, before, after in changes:
            print(f"{title}: {where}\n  - {before}\n  + {after}")
    print(f"{len(survivors)} are not noticed, {sum(one in explained for one in survivors)} of them cannot be")
    return int(set(survivors) != explained)


def not_noticed() -> list[str]:
    """Names of mutants, as mutmut gives them."""
    lines = _mutmut("results").splitlines()
    found = [line.strip().rpartition(": ") for line in lines if ": " in line]
    return [name for name, _, result in found if result in NOT_NOTICED]


def change_of(name: str) -> tuple[str, str, str]:
    """The function, what stood there, and what stands there now, without indentation."""
    lines = [line for line in _mutmut("show", name).splitlines() if not line.startswith(("---", "+++"))]
    before, after = ("\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    module, _, function = name.rpartition(".")
    function = re.sub(r"__mutmut_\d+$", "", function).removeprefix("x")
    function = function.removeprefix("ǁ").replace("ǁ", ".") if function.startswith("ǁ") else function[1:]
    return f"{module}.{function}", before, after


def _mutmut(*words: str) -> str:
    command = [str(Path(sys.executable).with_name("mutmut")), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
