"""Each loss against slow loops in float64, its gradient too."""

import math

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import nn

from hf_multitask.pretraining.losses import ClassRankingLoss, MaskedRankingLoss


class Lookup(nn.Module):
    """An encoder of row numbers, whose embeddings are its weights."""

    def __init__(self, rows, width=5):
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.table = nn.Parameter(torch.randn(rows, width, generator=draw, dtype=torch.float64))

    def forward(self, features):
        return {"sentence_embedding": self.table[features["input_ids"]]}


def cosine(x, y):
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    return dot / math.sqrt(sum(a * a for a in x)) / math.sqrt(sum(b * b for b in y))


def towards_diagonal(first, second, scale, masked=()):
    """-1/K sum_i log(exp(S_ii) / sum_j exp(S_ij)), by hand."""
    total = 0.0
    for i, row in enumerate(first):
        scores = [scale * cosine(row, other) for other in second]
        below = sum(math.exp(s - scores[i]) for j, s in enumerate(scores) if j == i or (i, j) not in masked)
        total += math.log(below)
    return total / len(first)


def numerical_gradient(table, loss, step=1e-6):
    gradient = torch.zeros_like(table)
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            up, down = table.clone(), table.clone()
            up[i, j] += step
            down[i, j] -= step
            gradient[i, j] = (loss(up.tolist()) - loss(down.tolist())) / (2 * step)
    return gradient


def assert_equal(model, loss, reference):
    torch.testing.assert_close(loss.item(), reference(model.table.detach().tolist()), atol=1e-12, rtol=0)
    loss.backward()
    expected = numerical_gradient(model.table.detach(), reference)
    torch.testing.assert_close(model.table.grad, expected, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 20.0])
@pytest.mark.parametrize("groups", [1, 3])
def test_class_ranking_equals_the_reference_with_its_gradients(groups, scale):
    classes = 4
    model = Lookup(2 * classes * groups)

    def reference(table):
        losses = []
        for g in range(groups):
            group = table[2 * classes * g : 2 * classes * (g + 1)]
            losses.append(towards_diagonal(group[::2], group[1::2], scale))
        return sum(losses) / groups

    features = {"input_ids": torch.arange(2 * classes * groups)}
    loss = ClassRankingLoss(model, classes, scale=scale)([features], torch.arange(classes).repeat_interleave(2))
    assert_equal(model, loss, reference)


def test_class_ranking_is_the_librarys_loss_on_the_pairs_of_a_group():
    model = Lookup(6)
    ours = ClassRankingLoss(model, 3)([{"input_ids": torch.arange(6)}], torch.zeros(6))
    pairs = [{"input_ids": torch.tensor([0, 2, 4])}, {"input_ids": torch.tensor([1, 3, 5])}]
    theirs = MultipleNegativesRankingLoss(model)(pairs, None)
    assert torch.equal(ours, theirs)


def test_groups_do_not_meet():
    """A second group changes nothing for the first: rows of one class in both are no negatives of each other."""
    model = Lookup(12)
    both = ClassRankingLoss(model, 3)([{"input_ids": torch.arange(12)}], torch.zeros(12))
    alone = [ClassRankingLoss(model, 3)([{"input_ids": torch.arange(6) + start}], torch.zeros(6)) for start in (0, 6)]
    torch.testing.assert_close(both, torch.stack(alone).mean(), atol=0, rtol=0)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4], [0, 1, 0, 3, 0], [7, 7, 7, 7, 7]])
def test_masked_ranking_equals_the_reference_with_its_gradients(labels):
    model, n = Lookup(10), 5
    masked = {(i, j) for i in range(n) for j in range(n) if i != j and labels[i] == labels[j]}
    loss = MaskedRankingLoss(model)(
        [{"input_ids": torch.arange(n)}, {"input_ids": torch.arange(n) + n}], torch.tensor(labels)
    )
    assert_equal(model, loss, lambda table: towards_diagonal(table[:n], table[n:], 20.0, masked))


def test_without_duplicates_it_is_the_librarys_own():
    model = Lookup(8)
    features = [{"input_ids": torch.arange(4)}, {"input_ids": torch.arange(4) + 4}]
    ours = MaskedRankingLoss(model, scale=7)(features, torch.arange(4))
    torch.testing.assert_close(ours, MultipleNegativesRankingLoss(model, scale=7)(features, None), atol=1e-12, rtol=0)
