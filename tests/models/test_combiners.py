from collections import Counter

import pytest
import torch

from hf_multitask.models.combiners import COMBINERS, Mean, Route, Vote, Weighted, build_combiner
from hf_multitask.models.objectives import Binary, Classification, CosineEmbedding, Regression

CLASSES = [Binary(), Classification("abc")]
EVERY = [*CLASSES, CosineEmbedding(0, 5), Regression(0, 5), Regression(0, 5, bounded=True)]
MEMBERS = 3
COMBINED = [
    Mean(),
    Mean("logits"),
    Weighted([1, 2, 3]),
    Weighted([1, 0, 3], over="logits"),
    Vote(),
    Vote([0.2, 0.5, 0.3]),
    Route(1),
]
each = pytest.mark.parametrize("combiner", COMBINED, ids=lambda c: str(c.describe()))
named = pytest.mark.parametrize("objective", EVERY, ids=lambda o: type(o).__name__)


def scores(objective, members=MEMBERS, rows=40):
    return torch.randn(members, rows, objective.outputs, dtype=torch.float64)


def fits(combiner, objective):
    return objective.labels is not None or not isinstance(combiner, Vote)


@each
@named
def test_members_that_agree_are_left_as_they_are(combiner, objective):
    if fits(combiner, objective):
        one = scores(objective, members=1)
        joined = objective.decode(combiner(one.repeat(MEMBERS, 1, 1), objective))
        torch.testing.assert_close(joined.values, objective.decode(one[0]).values)
        if not isinstance(combiner, Vote):
            torch.testing.assert_close(objective.answers(joined.scores), objective.answers(one[0]))


@each
@named
def test_what_comes_out_are_scores_that_the_objective_decodes(combiner, objective):
    if fits(combiner, objective):
        joined = combiner(scores(objective), objective)
        assert joined.shape == (40, objective.outputs)
        assert torch.isfinite(joined).all()
        assert objective.decode(joined).values.shape == (40,)


@each
def test_weights_sum_to_one_over_those_who_know_the_task(combiner):
    for knowing in ([True] * 3, [False, True, True], [False, True, False]):
        if isinstance(combiner, Weighted) and combiner.over == "logits" and knowing == [False, True, False]:
            continue
        weights = combiner.weigh(knowing)
        assert weights.sum() == pytest.approx(1)
        assert all(know or not weight for know, weight in zip(knowing, weights, strict=True))


@pytest.mark.parametrize(
    "combiner", [Mean("logits"), Weighted([1, 0, 3], over="logits"), Vote([0.2, 0, 0.3]), Vote(), Route(2)]
)
@named
def test_without_those_who_had_no_weight_it_says_the_same(combiner, objective):
    if fits(combiner, objective):
        said, weights = scores(objective), combiner.weigh([True, False, True])
        kept = weights.nonzero().flatten().tolist()
        whole = combiner.join(said[kept], weights[kept], objective)
        assert torch.equal(combiner.among(kept)(said[kept], objective), whole)


@each
def test_the_description_builds_the_same_combiner(combiner):
    assert build_combiner(combiner.describe()) == combiner
    assert type(combiner).__name__ in COMBINERS


@pytest.mark.parametrize("combiner", [Mean(), Mean("logits"), Weighted([3]), Vote(), Vote([2]), Route(0)])
@named
def test_one_member_alone_is_kept_to_the_bit(combiner, objective):
    alone = scores(objective, members=1)
    assert torch.equal(combiner(alone, objective), alone[0])


@pytest.mark.parametrize("over", ["probabilities", "logits"])
@named
def test_the_mean_does_not_care_for_the_order(over, objective):
    given = scores(objective)
    turned = Mean(over)(given[[2, 0, 1]], objective)
    torch.testing.assert_close(Mean(over)(given, objective), turned, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("over", ["probabilities", "logits"])
@named
def test_one_weight_alone_routes(over, objective):
    given = scores(objective)
    assert torch.equal(Weighted([0, 7, 0], over)(given, objective), Route(1)(given, objective))
    assert torch.equal(Route(1)(given, objective), given[1])


@named
def test_the_mean_of_probabilities_equals_a_slow_one(objective):
    given = scores(objective)
    wanted = [sum(objective.answers(given[m, i]) for m in range(MEMBERS)) / MEMBERS for i in range(40)]
    torch.testing.assert_close(objective.answers(Mean()(given, objective)), torch.stack(wanted))


@pytest.mark.parametrize("weights", [None, [0.2, 0.5, 0.3, 0.1, 0.4], [1, 1, 1, 2, 2]])
@pytest.mark.parametrize("objective", CLASSES, ids=lambda o: type(o).__name__)
def test_a_vote_equals_a_count_by_hand(weights, objective):
    given = scores(objective, members=5, rows=200)
    chances = objective.answers(given).mean(0) if weights is None else None
    if weights is not None:
        share = torch.tensor(weights, dtype=torch.float64)
        chances = (objective.answers(given) * share[:, None, None]).sum(0) / share.sum()
    for row, value in enumerate(objective.decode(Vote(weights)(given, objective)).values.tolist()):
        count = Counter()
        for member, weight in zip(given[:, row : row + 1], weights or [1] * 5, strict=True):
            count[int(objective.decode(member).values)] += weight
        most = max(count.values())
        tied = [label for label, votes in count.items() if votes > most - 1e-9]
        assert value == max(tied, key=lambda label: chances[row, label])


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: Mean("logit"), "Did you mean 'logits'"),
        (lambda: Weighted([1, -1]).weigh([True, True]), "Weights of Weighted are zero or more"),
        (lambda: Weighted([1]).weigh([True, True]), "1 weights for 2 members"),
        (lambda: Weighted([1, 0]).weigh([False, True]), "no weight to a member that knows the task"),
        (lambda: Route(2).weigh([True, True]), "member 2, and the last of 2 is 1"),
        (lambda: Route(-1), "from 0"),
        (lambda: Vote()(torch.zeros(2, 1, 1), Regression(0, 5)), "this task has numbers"),
        (lambda: build_combiner({"class": "Avg"}), "Choices: Mean, Route, Vote, Weighted"),
    ],
)
def test_mistakes_are_named(build, complaint):
    with pytest.raises(ValueError, match=complaint):
        build()
