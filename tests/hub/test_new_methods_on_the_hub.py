"""Models from outside of the package are uploaded with their code, and load where neither they nor dense_hf are."""

from pathlib import Path

import pytest
import toys
from conftest import CARD
from fresh_processes import dense_hf, run_programs
from programs import empty_home

HELPERS = Path(toys.__file__).parents[1]
ADD = f"import sys\nsys.path.insert(0, {str(HELPERS)!r})\nimport toys\ntoys.add_toys()\n"

SAVE = """
import torch
from dense_hf.methods import methods
sizes = {"toy_counter": {"tile_size": 64}, "toy_video": {}, "toy_classifier": {"size": {"height": 32, "width": 32}}}
for name, options in sizes.items():
    row = methods()[name]
    torch.manual_seed(0)
    row.model_class(row.config_class()).save_pretrained(name)
    row.processor_class(**options).save_pretrained(name)
    open(name + "/README.md", "w").write(sys.argv[1])
"""

USE = """
import numpy as np
from PIL import Image
from transformers import pipeline
picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8))
options = {"trust_remote_code": True, "device": "cpu"}
counted = pipeline("object-counting", model="someone/toy_counter", **options)(picture)
segmented = pipeline("video-semantic-segmentation", model="someone/toy_video", **options)([picture] * 3)
masks = pipeline("weakly-supervised-segmentation", model="someone/toy_classifier", **options)(
    picture, labels=[0], num_references=0
)
print(round(counted["density_count"], 3), [int(one["segmentation"].sum()) for one in segmented])
print(int(masks["segmentation"].sum()))
"""


@pytest.mark.slow
def test_a_toy_goes_to_the_hub_and_comes_back(hub, tmp_path):
    names = [row.name for row in toys.ROWS]
    programs = {"save": (ADD + SAVE, [CARD])}
    for name in names:
        program, words = dense_hf("push", tmp_path / name, f"someone/{name}")
        programs[name] = (ADD + program, words)
    programs["with"] = (ADD + "import dense_hf\n" + USE, [])
    done = run_programs(programs, tmp_path, hub.environment())
    assert all(code == 0 for code, _ in done.values()), done
    for name in names:
        assert {f"modeling_{name}.py", f"configuration_{name}.py"} <= hub.files(f"someone/{name}").keys()
    empty_home()
    alone = run_programs({"alone": (USE, [])}, tmp_path, hub.environment(), package=False)
    assert alone["alone"][0] == 0, alone
    assert alone["alone"][1].splitlines()[-2:] == done["with"][1].splitlines()[-2:]
