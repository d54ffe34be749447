"""What an import costs, by what it loads; and that transformers knows the models whichever package came first."""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader

import pytest
from fresh_interpreter import run_fresh

from dense_hf.registration import ImportFinder

pytestmark = pytest.mark.no_cover

# these take seconds and hundreds of megabytes
LIBRARIES = ("torch", "torchvision", "timm", "datasets", "evaluate", "accelerate")

HELP = "from dense_hf.cli import main\ntry:\n    main({})\nexcept SystemExit:\n    pass"
LIGHT = {
    "the package": "import dense_hf",
    "errors": "from dense_hf.errors import InvalidDataError",
    "data": "import dense_hf.data",
    "a reader": "from dense_hf.data import PointFolder, read_ids, read_points, open_image",
    "readers of videos and masks": "from dense_hf.data import read_video_folder, read_weak_set, read_voc_weak",
    "metrics": "import dense_hf.metrics",
    "all metrics": "from dense_hf.metrics import *",
    "the models by name": "from dense_hf.methods import converters, method_of\nmethod_of('cffm'), converters()",
    "conversion": "from dense_hf import convert_original_checkpoint",
    "the help of the program": HELP.format("['--help']"),
    "the help of a command": HELP.format("['count', '--help']"),
}
# these log with transformers, which takes a second
WITH_TRANSFORMERS = ("readers of videos and masks",)


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_import_loads_no_heavy_library(name, tmp_path):
    refused = LIBRARIES if name in WITH_TRANSFORMERS else (*LIBRARIES, "transformers")
    run_fresh(f"{LIGHT[name]}\nimport sys\nassert {{*{refused}}} & {{*sys.modules}} == set(), sys.modules", tmp_path)


AUTO = "from transformers import AutoConfig, AutoImageProcessor, AutoModel, pipeline"
ORDERS = {
    "dense_hf first": f"import dense_hf\n{AUTO}",
    "transformers first": f"{AUTO}\nimport dense_hf",
    # transformers imports its Auto classes in the middle of this
    "a model of transformers in between": f"import dense_hf\nfrom transformers import SegformerModel\n{AUTO}",
    "one of our models first": f"import dense_hf.video_segmentation.modeling_cffm\n{AUTO}",
    "one of our pipelines first": f"import dense_hf.pipelines.object_counting\n{AUTO}",
}

KNOWS_US = """
import sys
folder = sys.argv[1]
config, processor = AutoConfig.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
model = AutoModel.from_pretrained(folder)
from dense_hf import IOCFormerConfig, IOCFormerForObjectCounting, IOCFormerImageProcessor
assert (type(config), type(processor)) == (IOCFormerConfig, IOCFormerImageProcessor), (config, processor)
assert type(model) is IOCFormerForObjectCounting
from PIL import Image
counter = pipeline("object-counting", model=folder)
assert counter(Image.new("RGB", (64, 64)))["count"] >= 0
counter.save_pretrained("saved")
from pathlib import Path
written = {path.name for path in Path("saved").glob("*.py")}
assert {"modeling_iocformer.py", "image_processing_iocformer.py", "object_counting.py"} <= written, written
from transformers import AutoModelForImageClassification, AutoModelForSemanticSegmentation
from transformers import ResNetConfig, ResNetForImageClassification
from dense_hf import CFFMConfig, CFFMForVideoSemanticSegmentation, MCISForImageClassification, MCISConfig
assert AutoModelForSemanticSegmentation._model_mapping[CFFMConfig] is CFFMForVideoSemanticSegmentation
assert AutoModelForImageClassification._model_mapping[MCISConfig] is MCISForImageClassification
assert AutoModelForImageClassification._model_mapping[ResNetConfig] is ResNetForImageClassification
"""


@pytest.mark.parametrize("order", ORDERS)
def test_transformers_knows_the_models_in_every_order(order, counter_checkpoint, tmp_path):
    run_fresh(ORDERS[order] + KNOWS_US, tmp_path, counter_checkpoint)


WORKERS = """
import sys
from multiprocessing import get_context

def job(config, folder):
    from transformers import AutoImageProcessor, AutoModel
    model = AutoModel.from_config(config)
    return type(model).__module__, model._auto_class, AutoImageProcessor.from_pretrained(folder)

if __name__ == "__main__":
    from dense_hf import IOCFormerConfig, IOCFormerImageProcessor
    config = IOCFormerConfig.from_pretrained(sys.argv[1])
    with get_context("spawn").Pool(1) as pool:
        module, auto_class, processor = pool.apply(job, (config, sys.argv[1]))
    assert (module, auto_class) == ("dense_hf.counting.modeling_iocformer", "AutoModel"), (module, auto_class)
    assert type(processor) is IOCFormerImageProcessor
"""


def test_a_worker_that_gets_a_config_knows_its_model(counter_checkpoint, tmp_path):
    """Configs and processors go to worker processes and come back, pickled."""
    run_fresh(WORKERS, tmp_path, counter_checkpoint)


TABLES = """
import pickle
import dense_hf
from transformers import AutoModel, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
table = CONFIG_MAPPING._extra_content
assert "cffm" in CONFIG_MAPPING and "nothing" not in CONFIG_MAPPING
assert "dense_hf.video_segmentation.configuration_cffm" not in __import__("sys").modules
length = len(table)
assert length == len(list(table)) == len(table.items()) == len(table.values())
assert CONFIG_MAPPING["cffm"] is dense_hf.CFFMConfig
models = AutoModel._model_mapping
assert models[dense_hf.CFFMConfig] is dense_hf.CFFMForVideoSemanticSegmentation
assert PreTrainedConfig not in models
try:
    models._extra_content[PreTrainedConfig]
except KeyError as error:
    assert error.args == (PreTrainedConfig,)
else:
    raise AssertionError
copy = pickle.loads(pickle.dumps(models))
assert copy[dense_hf.MCISConfig] is dense_hf.MCISForImageClassification

class Other(dense_hf.MRCFAForVideoSemanticSegmentation):
    pass

AutoModel.register(dense_hf.MRCFAConfig, Other, exist_ok=True)  # who registers later wins, as ever
assert models[dense_hf.MRCFAConfig] is Other
assert list(models._extra_content).count(dense_hf.MRCFAConfig) == 1
"""


def test_the_tables_of_transformers_stay_what_they_are(tmp_path):
    run_fresh(TABLES, tmp_path)


def test_the_finder_leaves_modules_as_others_would_find_them(tmp_path, monkeypatch):
    (tmp_path / "awaited_toy.py").write_text("value = 1\n")
    (tmp_path / "broken_toy.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    finder, told = ImportFinder(), []
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    for name in ("awaited_toy", "broken_toy", "math"):
        finder.when_imported(name, lambda module: told.append((module.__name__, hasattr(module, "value"))))
    assert told == [("math", False)], "what is imported already is told at once"
    probed = importlib.util.find_spec("awaited_toy")  # which imports nothing
    assert probed.loader.get_source("awaited_toy") == "value = 1\n"
    module = importlib.import_module("awaited_toy")
    assert told[1:] == [("awaited_toy", True)]
    assert type(module.__loader__) is type(module.__spec__.loader) is SourceFileLoader
    assert module.__file__ == probed.origin == str(tmp_path / "awaited_toy.py")
    importlib.reload(module)
    assert len(told) == 2, "once is enough"
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        importlib.import_module("broken_toy")
    assert len(told) == 2
    monkeypatch.delitem(sys.modules, "awaited_toy")


class Asking(MetaPathFinder):
    """Asks all other finders, as those of programs that measure code do."""

    def find_spec(self, fullname, path=None, target=None):
        others = (one for one in sys.meta_path if one is not self and hasattr(one, "find_spec"))
        found = (one.find_spec(fullname, path, target) for one in others)
        return next((spec for spec in found if spec is not None), None)


class OfOldTimes:
    """A finder as they were before Python 3.4: nothing can be asked of it."""


@pytest.mark.parametrize("first", [True, False])
def test_the_finder_bears_others_that_ask_it(first, tmp_path, monkeypatch):
    name = f"asked_toy_{first}"
    (tmp_path / f"{name}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    finder, told = ImportFinder(), []
    both = [Asking(), finder] if first else [finder, Asking()]
    monkeypatch.setattr(sys, "meta_path", [*both, OfOldTimes(), *sys.meta_path])
    finder.when_imported(name, lambda module: told.append(module.value))
    assert importlib.import_module(name).value == 1
    assert told == [1]
    del sys.modules[name]
