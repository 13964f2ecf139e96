"""An image's noise depends on its key, not on its neighbours in a batch."""

import numpy as np
import torch

from vtadl.nn.noise import generators, standard_normal

LIKE = torch.zeros(0)


def noise(samples, *, seed=3, step=7, shape=(4, 5), like=LIKE):
    return standard_normal(generators(seed, step, samples), shape, like)


def test_a_sample_gets_the_same_in_any_batch():
    together = noise([5, 0, 9])
    assert torch.equal(together, torch.cat([noise([5]), noise([0, 9])]))
    assert torch.equal(together.flip(0), noise([9, 0, 5]))
    expected = np.random.default_rng((3, 7, 9)).standard_normal((4, 5), dtype=np.float32)
    assert np.array_equal(together[2], expected)


def test_seed_step_and_sample_all_count():
    drawn = [noise([1]), noise([2]), noise([1], seed=4), noise([1], step=8)]
    assert len({one.numpy().tobytes() for one in drawn}) == 4


def test_it_resumes_within_a_sample_and_takes_the_kind_of_its_like():
    made = generators(3, 7, [1, 2])
    first, second = (standard_normal(made, (4, 5), LIKE) for _ in range(2))
    assert not torch.equal(first, second)
    assert noise([1], like=torch.zeros(0, dtype=torch.float64)).dtype == torch.float64
    values = noise(range(50), shape=(20, 20))
    assert abs(values.mean()) < 0.03 and abs(values.std() - 1) < 0.03
