"""Damages files that the readers read; what comes of it must be a result or `InvalidDataError`.

    python fuzz.py --seconds 600 [--seed N] [--only points yaml]

Each reader gets its share of the time. What raised its error at a place in the code that was not seen before is
damaged further. A finding is another exception, a message of more than 2,000 characters, more than 5 s of CPU or more
than 1.5 GB. It is written to tests/fixtures/fuzz/READER/, where tests/test_stranger_files.py reads it ever after.
"""

import argparse
import hashlib
import json
import logging
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from stranger_files import Reader, readers

from dense_hf import InvalidDataError

FINDINGS = Path(__file__).parents[1] / "fixtures" / "fuzz"
MOST_SECONDS, MOST_BYTES = 5, 3 * 2**29
# what parsers treat differently from other text
WORDS = rb"""
0 -1 1e400 nan NaN Infinity 999999999999 1_000 0x10 true null ~ "" '' [] {} [[ }} , ; : :: = # <!-- --> <x> </x> &amp;
<!DOCTYPE <?xml encoding="utf-7"?> &a *a <<: !!float !!python/object:os.system %YAML .. ../ / \\ C: file:// http://
depths num_labels model_type backbone
""".split()
WORDS += [
    b"\x00",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xc2\x85",
    b"\x0b",
    b"\xe2\x80\xa8",
    b"\xed\xa0\x80",
    b"\r",
    b"\n",
]


class TooLong(BaseException):
    """No `Exception`, so that no reader catches it."""


def too_long(*_: object) -> None:
    """For the timer."""
    raise TooLong


def damaged(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """The content with one to eight changes."""
    result = bytearray(content)
    for _ in range(random_.choice((1, 1, 1, 2, 4, 8))):
        start = random_.randrange(len(result) + 1)
        end = min(start + random_.choice((0, 1, 1, 2, 4, 16, 300)), len(result))
        kind = random_.randrange(8)
        if kind == 0:
            result[start:end] = b""
        elif kind == 1:
            result[start:end] = random_.randbytes(end - start or 1)
        elif kind == 2:
            result[start:end] = random_.choice(WORDS)
        elif kind == 3:
            result[start:start] = bytes(result[start:end]) * random_.choice((1, 2, 50, 2000))
        elif kind == 4:
            del result[start:]
        elif kind == 5 and start < len(result):
            result[start] ^= 1 << random_.randrange(8)
        elif kind == 6:
            result[start:end] = random_.choice((b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"9" * 50)) * random_.choice(
                (1, 4)
            )
        else:
            other = random_.choice(others)
            first = random_.randrange(len(other) + 1)
            result[start:end] = other[first : first + random_.choice((4, 32, 256))]
    return bytes(result[: 2**22])


def outcome(reader: Reader, path: Path) -> tuple[str, bool]:
    """Where it ended, and whether that is a finding."""
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
        place, wrong = "read", False
    except InvalidDataError as error:
        place, wrong = _place(error), len(str(error)) > 2000
    except TooLong:
        place, wrong = f"more than {MOST_SECONDS} s", True
    except Exception as error:
        place, wrong = f"{type(error).__name__} at {_place(error)}", True
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MOST_BYTES:
        return "more than 1.5 GB", True
    return place, wrong


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    cause = f" {_place(error.__cause__)}" if error.__cause__ else ""
    return " ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:]) + cause


def main() -> int:
    """Fuzz; the exit code is 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    random_ = random.Random(options.seed)
    signal.signal(signal.SIGPROF, too_long)
    logging.disable()
    result: dict[str, dict[str, int]] = {}
    failures: set[str] = set()
    with tempfile.TemporaryDirectory() as root:
        known = {
            name: reader for name, reader in readers(Path(root, "seeds")).items() if name in (options.only or [name])
        }
        for name, reader in known.items():
            corpus, places, tried = list(reader.seeds), set(), 0
            end = time.monotonic() + options.seconds / len(known)
            while time.monotonic() < end:
                content = damaged(random_, random_.choice(corpus), corpus)
                path = Path(root, reader.name)
                path.write_bytes(content)
                place, wrong = outcome(reader, path)
                tried += 1
                if place not in places and len(content) < 2**16:
                    corpus.append(content)
                if wrong and place not in places:
                    failures.add(f"{name}: {place}")
                    case = FINDINGS / name / f"{hashlib.sha256(content).hexdigest()[:12]}-{reader.name}"
                    case.parent.mkdir(parents=True, exist_ok=True)
                    case.write_bytes(content)
                places.add(place)
            result[name] = {"inputs": tried, "places": len(places)}
            print(name, json.dumps(result[name]), flush=True)
    total = sum(counts["inputs"] for counts in result.values())
    print(f"seed {options.seed}: {total} inputs, {len(failures)} failures")
    for failure in sorted(failures):
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
