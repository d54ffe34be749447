"""Every row of the tables of chapter 3 is a file that all scripts can read, and its model has the parts it needs."""

from pathlib import Path

import pytest
import torch
import yaml

from dense_hf.inference.evaluation_options import SegmentationEvaluationArguments
from dense_hf.options import PARTS, read_part_keys
from dense_hf.training.classifier.options import parse_mcis_run
from dense_hf.weak_segmentation import LocalizationSettings
from dense_hf.weak_segmentation.modeling_mcis import MCISForImageClassification

FOLDER = Path(__file__).parents[3] / "scripts" / "configs" / "mcis"
# of the released model: 22,077,268, of which 10,240 are its second class layer, 512 the gate and 262,144 W_P
FULL = 22_077_268
BASIC = FULL - 10_240 - 512 - 262_144
ROWS = {
    "table_3.1a": (FULL, 3, False, "66.2", "66.9"),
    "table_3.1b": (FULL + 2 * 262_144, None, False, "67.1", "67.2"),
    "table_3.1c": (FULL, None, False, "67.7", "67.5"),
    "table_3.2_basic": (BASIC, 0, False, "61.7"),
    "table_3.2_single_round": (FULL, 0, False, "64.7"),
    "table_3.2_contrastive_maps": (FULL, 3, True, "66.2"),
    "table_3.2_multi_round": (FULL, 3, False, "66.2"),
    "table_3.4_basic": (BASIC, 0, False, "61.7"),
    "table_3.4_co_attention": (FULL - 512, 3, False, "65.5"),
    "table_3.4_contrastive": (FULL, 3, False, "66.2"),
    "table_3.5_r0": (FULL, 0, False, "64.7"),
    "table_3.5_r1": (FULL, 1, False, "65.9"),
    "table_3.5_r2": (FULL, 2, False, "66.0"),
    "table_3.5_r3": (FULL, 3, False, "66.2"),
    "table_3.5_r4": (FULL, 4, False, "66.1"),
    "table_3.5_r5": (FULL, 5, False, "66.0"),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_tables(name):
    path = FOLDER / f"{name}.yaml"
    parameters, references, contrastive, *published = ROWS[name]
    run = parse_mcis_run(arguments=["--config", str(path), "--output_dir", "unused"])
    with torch.device("meta"):
        model = MCISForImageClassification(run.config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    settings = LocalizationSettings(**read_part_keys(path, "localization", LocalizationSettings.__annotations__))
    assert settings.num_references == (3 if references is None else references)
    assert settings.use_contrastive == contrastive
    comment = path.read_text(encoding="utf-8").partition("\nclassifier:")[0]
    assert comment.startswith(f"# Table {name.split('_')[1]}")
    assert all(number in comment for number in published)
    assert (run.training.num_train_epochs, run.training.learning_rate, run.training.weight_decay) == (15, 1e-3, 5e-4)


def test_extra_sources():
    single, web = (
        parse_mcis_run(arguments=["--config", str(FOLDER / f"table_3.1{row}.yaml"), "--output_dir", "unused"])
        for row in "bc"
    )
    assert (single.config.num_domains, single.sources[0].domain, single.sources[0].first_class) == (2, 1, 1)
    assert (web.config.num_domains, web.sources[0].domain) == (1, 0)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_all_parts_of_every_file_are_known(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert set(yaml.safe_load(text)) <= set(PARTS)
    parse_mcis_run(arguments=["--config", str(path), "--output_dir", "unused"])
    read_part_keys(path, "evaluation", SegmentationEvaluationArguments.__dataclass_fields__)
