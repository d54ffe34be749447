"""Any JSON value at any key of a checkpoint's settings: what loads is run on a tiny picture, all with limits.

What enlarges it to more than `RUN_PIXELS`, as settings for frames of 1440p and 4K do, is loaded only.

    python absurd_settings.py FOLDER EXAMPLES

FOLDER has checkpoints, each in a folder that is called as in `LOADERS`. It prints one line of JSON: how many were
loaded and run, how many refused before or after that, the most seconds of CPU that one took, and the memory of all.
"""

import json
import math
import resource
import shutil
import signal
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import pipeline

from dense_hf import AffinityNetModel, DeepLabLargeFOVForSemanticSegmentation, InvalidDataError
from dense_hf.inference.checkpoints import load_counter, load_mcis, load_model, load_segmenter, load_video_model
from dense_hf.inference.refined_maps import affinities_of
from dense_hf.setting_bounds import pixels_of
from dense_hf.weak_segmentation import MultiScaleSegmenter
from dense_hf.weak_segmentation.group_segmentation import segment_group

PHASES = (Phase.explicit, Phase.generate)  # to shrink what takes 5 s takes minutes
MOST_SECONDS, MOST_BYTES, RUN_PIXELS = 5, 3 * 2**29, 2**21
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
COUNTERS = ("iocformer", "mcnn", "man", "dssinet", "mspsnet", "lcfcn", "p2pnet")
LOADERS = {
    **dict.fromkeys(COUNTERS, load_counter),
    "cffm": load_video_model,
    "cffm_plus": load_video_model,
    "mrcfa": load_video_model,
    "segformer": load_segmenter,
    "mcis": load_mcis,
    "deeplab": lambda folder: load_model(folder, DeepLabLargeFOVForSemanticSegmentation, "a DeepLab"),
    "affinity": lambda folder: load_model(folder, AffinityNetModel, "an AffinityNet"),
}
RUNS = {
    **dict.fromkeys(COUNTERS, lambda model, processor: processor.count_objects(model, PICTURE)),
    "cffm": lambda model, processor: segment_video(model, processor),
    "cffm_plus": lambda model, processor: segment_video(model, processor),
    "mrcfa": lambda model, processor: segment_video(model, processor),
    "segformer": lambda model, processor: segment_video(model, processor),
    "mcis": lambda model, processor: list(segment_group(model, processor, [0, 1], lambda _: PICTURE, [[0]] * 2)),
    "deeplab": lambda model, processor: MultiScaleSegmenter(model, processor, scales=[1])(PICTURE),
    "affinity": lambda model, processor: affinities_of(model, processor, PICTURE),
}
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8))


def segment_video(model: Any, processor: Any) -> None:
    """As `dense-hf segment`, two frames."""
    segmenter = pipeline("video-semantic-segmentation", model=model, image_processor=processor, device="cpu")
    for result in segmenter.segment([np.asarray(PICTURE)] * 2):
        assert result["segmentation"].shape == (40, 48)


ABSURD = [0, -1, 1, 2, 255, 300, 4097, 10**5, 10**6, 10**9, 2**31, 2**63, 10**30, 0.5, -0.5, 1e308]
ABSURD += [math.nan, math.inf, True, False, None, "", "x", "float16", "complex64", "/dev/zero", "hf-hub:a/b", [], {}]
ABSURD += [[10**9] * 4, [256] * 4, [0] * 4, [1] * 300, {"model_type": "resnet", "depths": [10**6] * 4}, ["a"], [[]]]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.sampled_from(ABSURD) | st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
)


class TooLong(BaseException):
    """No `Exception`, so that nobody takes it for a bad checkpoint."""


def places(content: Any, path: tuple = ()) -> list[tuple]:
    """Where a value may be put: all keys, also those of what is inside."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, item in inside for place in ((*path, key), *places(item, (*path, key)))]


def put(content: Any, place: tuple, value: Any) -> Any:
    """A copy with the value there."""
    content = json.loads(json.dumps(content))
    inside = content
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return content


def loaded(name: str, root: Path) -> tuple[Any, Any]:
    """Model and processor."""
    found = LOADERS[name](str(root / name))
    return (found.model, found.image_processor) if name == "segformer" else found


def pixels(processor: Any) -> float:
    """Of what a tiny picture becomes, a tile or all of it."""
    settings = processor.to_dict()
    return max(pixels_of(settings.get("size")), (settings.get("tile_size") or 0) ** 2)


def too_long(*_: object) -> None:
    """For the timer."""
    raise TooLong


def main(root: Path, examples: int) -> None:
    """Try them, and print what happened."""
    result: Counter[str] = Counter()
    longest, most = 0.0, 0
    whole, choices = {}, []
    for name in LOADERS:
        model, processor = loaded(name, root)
        for file, known in (
            (
                CONFIG,
                {field.name for field in fields(model.config)} | {"num_labels", "palette", "to_dict", "attribute_map"},
            ),
            (PROCESSOR, {*processor.valid_kwargs.__annotations__, "tile_layout", "to_dict", "__class__", "other"}),
        ):
            content = whole[name, file] = json.loads((root / name / file).read_text())
            here = list(dict.fromkeys([*places(content), *((key,) for key in sorted(known))]))
            choices.append(st.tuples(st.just((name, file)), st.sampled_from(here)))
    signal.signal(signal.SIGPROF, too_long)
    resource.setrlimit(resource.RLIMIT_CPU, (40 + 6 * examples, 60 + 6 * examples))

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,  # more examples are other ones; the same number fails for everybody or for nobody
        suppress_health_check=list(HealthCheck),
        phases=PHASES,
    )
    @given(st.one_of(choices), VALUES)
    @example((("iocformer", CONFIG), ("num_labels",)), 10**9)
    @example((("iocformer", CONFIG), ("encoder_layers",)), 10**6)
    @example((("iocformer", PROCESSOR), ("tile_layout",)), "x")
    @example((("iocformer", PROCESSOR), ("tile_overlap",)), 31)
    @example((("iocformer", PROCESSOR), ("tile_overlap",)), 28)
    @example((("iocformer", PROCESSOR), ("tile_size",)), 1024)
    @example((("iocformer", PROCESSOR), ("tile_size",)), 3072)
    @example((("cffm", PROCESSOR), ("size",)), {"shortest_edge": 2160, "longest_edge": 3840})
    @example((("cffm", PROCESSOR), ("size",)), {"shortest_edge": 1024, "longest_edge": 2048})
    @example((("mrcfa", PROCESSOR), ("size",)), {"shortest_edge": 1024, "longest_edge": 2048})
    @example((("mcis", CONFIG), ("scale_views",)), [3.0] * 16)
    @example((("cffm", PROCESSOR), ("size",)), {"shortest_edge": 4096, "longest_edge": 4096})
    @example((("mcis", PROCESSOR), ("size",)), {"height": 4096, "width": 4096})
    @example((("segformer", PROCESSOR), ("size",)), {"height": 4096, "width": 4096})
    @example((("cffm", CONFIG), ("window_size",)), 10**6)
    @example((("cffm", CONFIG), ("window_size",)), 64)
    @example((("cffm", CONFIG), ("encoder_config", "depths")), [256, 0, 0, 0])
    @example((("segformer", CONFIG), ("num_labels",)), 10**9)
    @example((("segformer", CONFIG), ("hidden_sizes",)), [2**20] * 4)
    @example(
        (("mcis", CONFIG), ("backbone_config",)),
        {"model_type": "timm_backbone", "backbone": "vit_giant_patch14_clip_224"},
    )
    def try_it(where: tuple, value: Any) -> None:
        nonlocal longest, most
        (name, file), place = where
        path = root / name / file
        path.write_text(json.dumps(put(whole[name, file], place, value)))
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
        start = resource.getrusage(resource.RUSAGE_SELF)
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            model, processor = loaded(name, root)
            if pixels(processor) > RUN_PIXELS:
                result["loaded"] += 1
            else:
                RUNS[name](model, processor)
                result["ran"] += 1
        except (InvalidDataError, ValueError) as error:
            result["refused"] += 1
            if len(str(error)) > 2000:
                raise AssertionError(str(error)) from error
        except TooLong:
            raise AssertionError(f"more than {MOST_SECONDS} s for {name} {file} {place} = {value!r}") from None
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            path.write_text(json.dumps(whole[name, file]))
        end = resource.getrusage(resource.RUSAGE_SELF)
        most = max(most, peak_bytes())
        longest = max(longest, end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime)
        if peak_bytes() > MOST_BYTES:
            raise AssertionError(f"{peak_bytes()} bytes with {name} {file} {place} = {value!r}")

    try_it()
    print(json.dumps({**result, "most_seconds": round(longest, 2), "most_bytes": most}))


def peak_bytes() -> int:
    """The most memory that this program has had; `ru_maxrss` begins with that of the process which started it."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    work = Path(sys.argv[1])
    shutil.copytree(work, work.with_name(f"{work.name}_copy"))
    main(work.with_name(f"{work.name}_copy"), int(sys.argv[2]))
