"""The order of an epoch as a pure function of (seed, epoch), for runs that can be stopped and resumed bit for bit.

The stock chain (RandomSampler, `dataset.set_epoch`, worker seeds) does not give that: measured with transformers 5.23
and accelerate 1.15, a resumed mid-epoch run sees epoch 0 again, with two processes `set_epoch` never reaches the
dataset, and the loader draws one batch ahead of the checkpoint. Here the sampler hands out (epoch, index) pairs, so a
data set needs no state, and persistent workers need no message.
"""

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SampleKey = tuple[int, int]
"""(epoch, index): all that decides a training sample, next to the seed of the run."""


class EpochSampler(Sampler[SampleKey]):
    """Keys of an epoch in random order, rounded up to whole global batches.

    Every process makes the same list; accelerate deals its batches out in turn. One process with batch 2 B and two
    with batch B therefore see the same samples in the same steps. The keys that complete the last batch have indices
    from `num_samples` on: further random samples, not repetitions.

    Args:
        num_samples: Samples of an epoch before rounding.
        seed: Seed of the run.
        multiple_of: Size of a global batch (batch of a process x processes x accumulation steps).
    """

    def __init__(self, num_samples: int, seed: int, multiple_of: int = 1):
        if num_samples < 1 or multiple_of < 1:
            raise ValueError(
                "num_samples and multiple_of must be at least 1. Received: "
                f"num_samples={num_samples}, multiple_of={multiple_of}"
            )
        self.num_samples = num_samples
        self.seed = seed
        self.length = math.ceil(num_samples / multiple_of) * multiple_of
        self.epoch = 0

    def start_epoch(self, epoch: int) -> None:
        """The next iteration is that of `epoch`. Not `set_epoch`: accelerate calls that with a count of its own."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[SampleKey]:
        epoch = self.epoch
        order = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch,)))
        for index in order.permutation(self.num_samples):
            yield epoch, int(index)
        for index in range(self.num_samples, self.length):
            yield epoch, index


def sample_generator(seed: int, key: SampleKey) -> np.random.Generator:
    """The one source of randomness of a sample."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


class StartEpoch(TrainerCallback):
    """Tells the sampler which epoch begins, also after a resume in the middle of it."""

    def __init__(self, sampler: EpochSampler):
        self.sampler = sampler

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """`state.epoch` is a fraction, made by division: 1.9999999 means epoch 2."""
        self.sampler.start_epoch(int((state.epoch or 0) + 1e-6))
