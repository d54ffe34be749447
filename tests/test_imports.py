"""What an import costs, by what it loads; and that transformers knows the models whichever package came first."""

import pytest
from fresh_interpreter import run_fresh

# these take seconds and hundreds of megabytes
LIBRARIES = ("torch", "torchvision", "timm", "datasets", "evaluate", "accelerate")

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
    "the help of the program": "from dense_hf.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass",
    "the help of a command": "from dense_hf.cli import main\ntry:\n    main(['count', '-h'])\nexcept SystemExit:\n    pass",
}
# not even transformers, which takes a second
WITHOUT_TRANSFORMERS = ("the package", "errors", "data", "metrics", "all metrics", "the models by name", "conversion")
WITHOUT_TRANSFORMERS = (*WITHOUT_TRANSFORMERS, "the help of the program", "the help of a command", "a reader")


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_import_loads_no_heavy_library(name, tmp_path):
    refused = (*LIBRARIES, *(("transformers",) if name in WITHOUT_TRANSFORMERS else ()))
    run_fresh(f"{LIGHT[name]}\nimport sys\nassert {{*{refused}}} & {{*sys.modules}} == set(), sys.modules", tmp_path)


ORDERS = {
    "dense_hf first": "import dense_hf\nfrom transformers import AutoConfig, AutoImageProcessor, AutoModel, pipeline",
    "transformers first": "from transformers import AutoConfig, AutoImageProcessor, AutoModel, pipeline\n"
    "import dense_hf",
    # transformers imports its Auto classes in the middle of this
    "a model of transformers in between": "import dense_hf\nfrom transformers import SegformerModel\n"
    "from transformers import AutoConfig, AutoImageProcessor, AutoModel, pipeline",
    "one of our models first": "from dense_hf.video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation\n"
    "from transformers import AutoConfig, AutoImageProcessor, AutoModel, pipeline",
    "one of our pipelines first": "from dense_hf.pipelines.object_counting import ObjectCountingPipeline\n"
    "from transformers import AutoConfig, AutoImageProcessor, AutoModel, pipeline",
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


def test_the_finder_leaves_modules_as_others_would_find_them(tmp_path):
    program = """
import importlib.util
import dense_hf
name = "dense_hf.counting.configuration_iocformer"
probed = importlib.util.find_spec(name)  # and it is still waited for
from dense_hf.counting import configuration_iocformer as module
assert module.__spec__.loader is module.__loader__
assert type(module.__loader__).__name__ == "SourceFileLoader"
assert module.__spec__.origin == probed.origin == module.__file__
assert "class IOCFormerConfig" in probed.loader.get_source(name)
assert module.IOCFormerConfig._auto_class == "AutoConfig"
"""
    run_fresh(program, tmp_path)
