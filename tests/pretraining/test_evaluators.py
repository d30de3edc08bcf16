import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from hf_multitask import SST, STS
from hf_multitask.pretraining.evaluators import Geometry, alignment, evaluators, uniformity


def unit(rows, *, seed=0):
    drawn = np.random.default_rng(seed).normal(size=(rows, 4))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.mark.parametrize("block", [3, 1000])
def test_uniformity_equals_the_papers_formula(block):
    rows = unit(20)
    expected = math.log(np.exp(-2 * pdist(rows) ** 2).mean())
    assert uniformity(rows, block=block) == pytest.approx(expected, abs=1e-10)


def test_alignment_equals_the_papers_formula():
    first, second = unit(6), unit(6, seed=1)
    expected = sum(sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x, y in zip(first, second, strict=True)) / 6
    assert alignment(first, second) == pytest.approx(expected)
    assert alignment(first, first) == 0


def test_close_pairs_alone_are_aligned(model, rows):
    encoder = model.to_sentence_transformer()
    data = rows["sts"]
    found = Geometry(STS, data)(encoder)
    u, v = (
        torch.nn.functional.normalize(encoder.encode(data[s][:], convert_to_tensor=True)) for s in ("first", "second")
    )
    close = torch.tensor(data["label"][:]) > 4
    assert 0 < close.sum() < len(close)
    assert found["sts_alignment"] == pytest.approx((u - v)[close].square().sum(-1).mean().item(), rel=1e-4)
    far = data.filter(lambda row: row["label"] <= 4)
    assert set(Geometry(STS, far)(encoder)) == {"sts_uniformity"}


def test_a_task_is_judged_by_its_kind(model, rows):
    encoder = model.to_sentence_transformer()
    pairs = [one(encoder) for one in evaluators(STS, rows["sts"], rows["sts"])]
    assert {key for found in pairs for key in found} == {
        "sts_pearson_cosine", "sts_spearman_cosine", "sts_uniformity", "sts_alignment",
    }  # fmt: skip
    (probe,) = evaluators(SST, rows["sst"], rows["sst"])
    assert 0 <= probe(encoder)["sst_accuracy"] <= 1
