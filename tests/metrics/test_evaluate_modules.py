"""The metrics through `evaluate.load`, in a fresh process without a network."""

import json
import os
import subprocess
import sys

import pytest

from dense_hf import metrics

pytestmark = pytest.mark.no_cover

COUNTS = {"predictions": [12, 3, 230.5], "references": [10, 0, 250]}
POINTS = {"predictions": [[[1, 2], [30.5, 4]], [], []], "references": [[[1, 4]], [[7, 7]], []]}
MAPS = {"predictions": [[[0, 1], [2, 2]], [[1]]], "references": [[[0, 1], [255, 1]], [[1]]]}
VIDEOS = {"predictions": [[[[0, 1]]] * 4, [[[0]], [[1]], [[0]]]], "references": [[[[0, 0]]] * 4, [[[2]]] * 3]}
PROGRAM = f"""
import evaluate, json
from dense_hf import metrics

counting = evaluate.load(metrics.path("counting"))
counting.add_batch(predictions=[12, 3], references=[10, 0])
counting.add(prediction=230.5, reference=250)
localization = evaluate.load(metrics.path("localization"))
overlap = evaluate.load(metrics.path("mean_iou"))
consistency = evaluate.load(metrics.path("video_consistency"))
print(json.dumps([
    counting.compute(),
    localization.compute(distances=[2.5], **{POINTS}),
    overlap.compute(num_labels=3, **{MAPS}),
    consistency.compute(windows=[2], protocol="thesis", **{VIDEOS}),
]))
"""


@pytest.mark.smoke
def test_the_modules_give_the_numbers_of_the_classes(tmp_path):
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_EVALUATE_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    counting, localization, overlap, consistency = json.loads(run.stdout.splitlines()[-1])
    assert counting == metrics.CountingMetrics().update(**COUNTS).compute()
    assert localization == metrics.LocalizationMetrics((2.5,)).update(**POINTS).compute()
    assert repr(overlap) == repr(metrics.MeanIoU(3).update(**MAPS).compute())  # with the NaN of absent classes
    expected = metrics.VideoConsistency((2,), "thesis")
    for video in zip(*VIDEOS.values()):
        expected.update(*video)
    assert consistency == expected.compute()


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"counting.*localization"):
        metrics.path("mae")
