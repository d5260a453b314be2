"""Sampler: batches as a pure function of seed and step."""

import numpy as np
import pytest

from ldae.data.sampling import Sampler
from ldae.errors import UserError
from ldae.seeds import derive_seed


def test_sampler_covers_every_scan_once_an_epoch_and_is_deterministic():
    sampler = Sampler("ldm", n=10, batch_size=4, micro_batch=2, seed=3)
    steps = sampler.steps(epochs=6)
    assert steps == 15
    drawn = np.concatenate([sampler.batch(step) for step in range(steps)])
    epochs = drawn.reshape(6, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert [sampler.epochs_done(step) for step in (0, 2, 3, 5, 15)] == [0, 0, 1, 2, 6]
    again = Sampler("ldm", n=10, batch_size=4, micro_batch=4, seed=3)
    assert (again.batch(7) == drawn[28:32]).all()
    assert list(sampler.micro_batches(7, 8)) == [drawn[28:30].tolist(), drawn[30:32].tolist()]
    other = Sampler("ldm", n=10, batch_size=4, micro_batch=2, seed=4)
    assert not (other.permutation(0) == sampler.permutation(0)).all()
    assert derive_seed(1, 23) != derive_seed(12, 3)


def test_sampler_refuses_batches_that_do_not_divide_or_fill():
    with pytest.raises(UserError, match=r"ldm\.batch_size.*ldm\.micro_batch"):
        Sampler("ldm", n=10, batch_size=5, micro_batch=2, seed=0)
    with pytest.raises(UserError, match=r"ldm\.batch_size is 16, but only 10"):
        Sampler("ldm", n=10, batch_size=16, micro_batch=2, seed=0)
    with pytest.raises(UserError, match=r"^supervised\.batch_size"):  # the section, not the stage
        Sampler("supervised_age", n=10, batch_size=16, micro_batch=2, seed=0)
