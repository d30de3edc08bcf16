import pytest
import torch
from scipy import stats

from hf_multitask.models.batch import Batch
from hf_multitask.regularizers.noise import normal, uniform

IDS = [torch.tensor(ids) for ids in ([7, 8, 9], [7], [9, 8, 7], [7, 8, 9, 9], [0, 0])]


def batch(*numbers):
    chosen = [IDS[number] for number in numbers]
    lengths = torch.tensor([len(ids) for ids in chosen])
    flat = torch.cat(chosen)
    return Batch.of(flat, lengths, int(lengths.max()), {})


def apart(numbers, **key):
    """The noise of some sequences, each by itself."""
    found = batch(*numbers)
    return normal(found, 6, **key).split(found.packing.lengths.tolist())


def test_it_is_normal_and_uniform():
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(30000, (40, 25), generator=draw)
    many = Batch.of(ids.flatten(), torch.full((40,), 25), 25, {})
    for seed in range(5):
        drawn = normal(many, 384, seed=seed, step=seed * 1000)
        assert stats.kstest(drawn.flatten(), "norm").pvalue > 0.001
        assert abs(drawn[:, 1:] * drawn[:, :-1]).mean() == pytest.approx(2 / torch.pi, rel=0.01)
        for one, other in ((drawn[1:], drawn[:-1]), (drawn[:, 1:], drawn[:, :-1])):
            assert abs(stats.pearsonr(one.flatten(), other.flatten())[0]) < 0.007
        lots = torch.cat([uniform(many, seed=seed, step=step) for step in range(50)])
        assert stats.kstest(lots, "uniform").pvalue > 0.001


def test_a_sequence_meets_the_same_noise_in_any_company():
    key = {"seed": 3, "step": 11}
    alone = {number: apart([number], **key)[0] for number in range(len(IDS))}
    for company in ([0, 1, 2, 3, 4], [3, 0], [4, 0, 0, 1]):
        for number, found in zip(company, apart(company, **key), strict=True):
            assert torch.equal(found, alone[number])
        lots = uniform(batch(*company), **key)
        assert torch.equal(lots, torch.cat([uniform(batch(number), **key) for number in company]))


def test_everything_that_tells_sequences_and_steps_apart_changes_it():
    drawn = [noise.flatten()[:6] for noise in apart(range(len(IDS)), seed=3, step=11)]
    drawn += [apart([0], seed=4, step=11)[0][0], apart([0], seed=3, step=12)[0][0], apart([0], seed=3, step=11)[0][1]]
    assert len({tuple(noise.tolist()) for noise in drawn}) == len(drawn)
    normal(batch(0), 6, seed=2**31 - 1, step=10**7)
