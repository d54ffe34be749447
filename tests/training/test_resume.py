"""A run that is stopped and resumed is the run that was not stopped, bit for bit: augmentation and dropout on."""

import pytest

from dense_hf.training.counting_augmentation import CountingAugmentation

STEPS_PER_EPOCH = 4
LAST_STEP = 3 * STEPS_PER_EPOCH


@pytest.fixture(scope="module")
def whole_run(make_trainer, tmp_path_factory):
    """Saves after every step."""
    folder = tmp_path_factory.mktemp("whole")
    make_trainer(folder, save_strategy="steps", save_steps=1).train()
    return folder


def test_the_test_can_fail(whole_run, same_weights, make_trainer, tmp_path):
    """Another augmentation or another seed gives other weights, so equality below means something."""
    assert not same_weights(whole_run / "checkpoint-11", whole_run / "checkpoint-12")
    without = CountingAugmentation(horizontal_flip=0, scale=0, grayscale=0)
    make_trainer(tmp_path / "other", augmentation=without, save_strategy="steps", save_steps=LAST_STEP).train()
    assert not same_weights(tmp_path / "other" / "checkpoint-12", whole_run / "checkpoint-12")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 3, 4, 6, 11])  # 4 is the end of an epoch
def test_resumed_run_ends_with_the_same_bits(whole_run, same_weights, make_trainer, tmp_path, stop, workers):
    trainer = make_trainer(
        tmp_path,
        save_strategy="steps",
        save_steps=LAST_STEP,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=bool(workers) and stop % 2 == 1,
    )
    trainer.train(resume_from_checkpoint=str(whole_run / f"checkpoint-{stop}"))
    assert same_weights(tmp_path / "checkpoint-12", whole_run / "checkpoint-12")
