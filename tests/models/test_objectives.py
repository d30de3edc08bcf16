import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical, kl_divergence

from hf_multitask.models.objectives import (
    OBJECTIVES,
    Binary,
    Brier,
    Classification,
    CosineEmbedding,
    Regression,
    build_objective,
    translated,
)

EVERY = [Binary(), Brier(), Classification("abc"), CosineEmbedding(0, 5), Regression(0, 5)]
EVERY.append(Regression(0, 5, bounded=True))
named = pytest.mark.parametrize("objective", EVERY, ids=lambda o: type(o).__name__)


def labels(objective, n=6):
    ids = torch.arange(n) % 2
    return ids if objective.labels else ids * 1.5


@named
def test_loss_and_decoding_have_one_row_each(objective):
    scores = torch.randn(6, objective.outputs, requires_grad=True)
    loss = objective.loss(scores, labels(objective))
    assert loss.shape == (6,)
    assert (loss >= 0).all()
    loss.sum().backward()
    assert torch.isfinite(scores.grad).all()
    found = objective.decode(scores.detach())
    assert found.values.shape == (6,)
    if objective.labels:
        torch.testing.assert_close(found.probabilities.sum(-1), torch.ones(6))
        assert torch.equal(found.probabilities.argmax(-1), found.values)
        assert set(found.labels) <= set(objective.labels)
    else:
        assert found.values.min() >= objective.low
        assert found.values.max() <= objective.high


@named
def test_divergence_is_symmetric_and_zero_for_equal_scores_alone(objective):
    one, other = torch.randn(2, 6, objective.outputs, dtype=torch.float64)
    there, back = objective.divergence(one, other), objective.divergence(other, one)
    assert there.shape == (6,)
    assert (there > 0).all()
    torch.testing.assert_close(there, back)
    assert not objective.divergence(one, one).any()


@named
def test_scores_come_back_from_the_answers_that_they_give(objective):
    scores = 3 * torch.randn(2, 6, objective.outputs, dtype=torch.float64)
    answers = objective.answers(scores)
    again = objective.scores_of(answers)
    assert again.shape == scores.shape
    torch.testing.assert_close(objective.answers(again), answers)
    found = objective.decode(scores[0])
    wanted = found.values if found.probabilities is None else found.probabilities
    got = answers[0] if objective.labels else answers[0, :, 0].clamp(*objective.space)
    torch.testing.assert_close(got, wanted)


@named
def test_no_answer_gives_an_infinite_score(objective):
    sure = objective.answers(torch.tensor([[-900.0] * objective.outputs, [900.0] * objective.outputs]))
    sure = torch.eye(len(objective.labels)) if objective.labels else sure
    assert torch.isfinite(objective.scores_of(sure)).all()


def test_divergence_equals_that_of_torchs_distributions():
    one, other = torch.randn(2, 6, 3, dtype=torch.float64)
    p, q = Categorical(logits=one), Categorical(logits=other)
    torch.testing.assert_close(Classification("abc").divergence(one, other), kl_divergence(p, q) + kl_divergence(q, p))
    p, q = Bernoulli(logits=one[:, 0]), Bernoulli(logits=other[:, 0])
    torch.testing.assert_close(Binary().divergence(one[:, :1], other[:, :1]), kl_divergence(p, q) + kl_divergence(q, p))
    want = (4 * (one[:, 0].sigmoid() - other[:, 0].sigmoid())) ** 2
    torch.testing.assert_close(Regression(1, 5, bounded=True).divergence(one[:, :1], other[:, :1]), want)


@named
def test_the_description_builds_the_same_objective(objective):
    assert build_objective(objective.describe()) == objective
    assert type(objective).__name__ in OBJECTIVES


def test_losses_equal_those_of_torch():
    torch.manual_seed(1)
    y = torch.tensor([0, 1, 1, 0])
    one, three = torch.randn(4, 1), torch.randn(4, 3)
    torch.testing.assert_close(Classification("abc").loss(three, y).mean(), nn.CrossEntropyLoss()(three, y))
    torch.testing.assert_close(Binary().loss(one, y).mean(), nn.BCEWithLogitsLoss()(one[:, 0], y.float()))
    torch.testing.assert_close(Regression(0, 5).loss(one, y).mean(), nn.MSELoss()(one[:, 0], y.float()))
    bounded = Regression(1, 5, bounded=True).loss(one, y)
    torch.testing.assert_close(bounded.mean(), nn.MSELoss()(1 + 4 * one[:, 0].sigmoid(), y.float()))


def test_cosine_embedding_equals_that_of_torch_at_both_ends():
    u, v = torch.randn(2, 4, 8)
    y = torch.tensor([0.0, 1.0, 1.0, 0.0])
    cosine = nn.functional.cosine_similarity(u, v)[:, None]
    want = nn.CosineEmbeddingLoss(margin=0.1, reduction="none")(u, v, 2 * y - 1)
    torch.testing.assert_close(CosineEmbedding(margin=0.1).loss(cosine, y), want)
    beyond = [CosineEmbedding(0, 5).loss(torch.tensor([[c]]), torch.tensor([-1.5])) for c in (0.0, -0.5)]
    assert beyond[0] == beyond[1] == 0
    half = CosineEmbedding(0, 5).loss(torch.tensor([[0.4]]), torch.tensor([2.5]))
    torch.testing.assert_close(half, torch.tensor([0.5 * 0.6 + 0.5 * 0.4]))


@pytest.mark.parametrize(
    ("objective", "label", "complaint"),
    [
        (Classification("abcde"), 7, "label 7 is not one of the ids 0 to 4"),
        (Classification("abcde"), 1.5, "label 1.5"),
        (Binary(), -1, "label -1"),
        (Regression(0, 5), 5.2, "outside 0 to 5"),
        (CosineEmbedding(), float("nan"), "label nan"),
    ],
)
def test_labels_outside_are_named(objective, label, complaint):
    assert complaint in objective.complaint(label)


@pytest.mark.parametrize("objective", EVERY, ids=lambda o: type(o).__name__)
def test_labels_inside_pass(objective):
    assert objective.complaint(1.0) is None


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: Classification(["a"]), "2 or more"),
        (lambda: Classification(["a", "a"]), "different"),
        (lambda: Binary(["a", "b", "c"]), "Use Classification"),
        (lambda: Regression(5, 0), "low < high"),
        (lambda: CosineEmbedding(1, 1), "low < high"),
    ],
)
def test_mistakes_are_named(build, complaint):
    with pytest.raises(ValueError, match=complaint):
        build()


def test_numbers_have_no_label_names():
    with pytest.raises(ValueError, match="Read `values`"):
        _ = Regression(0, 5).decode(torch.zeros(2, 1)).labels


def test_the_brier_score_is_the_squared_error_of_the_probability():
    scores, truth = torch.randn(9, 1, dtype=torch.float64), torch.arange(9) % 2
    expected = [(chance - label) ** 2 for chance, label in zip(scores.sigmoid()[:, 0], truth, strict=True)]
    torch.testing.assert_close(Brier().loss(scores, truth), torch.stack(expected))
    assert Brier().space == Binary(("no", "yes")).space


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (Regression(0, 5), CosineEmbedding(0, 5)),
        (Regression(0, 5, bounded=True), Regression(0, 5)),
        (Binary("ab"), Classification("ab")),
        (Classification("ab"), Brier("ab")),
    ],
)
def test_scores_in_terms_of_another_objective_say_the_same(own, other):
    scores = torch.randn(9, own.outputs, dtype=torch.float64).abs()
    found = other.decode(translated(scores, own, other))
    torch.testing.assert_close(found.values, own.decode(scores).values)
    if own.labels:
        torch.testing.assert_close(found.probabilities, own.decode(scores).probabilities)


def test_another_question_has_no_such_terms():
    with pytest.raises(ValueError, match="answer different questions"):
        translated(torch.zeros(2, 1), Regression(0, 5), Regression(0, 1))
