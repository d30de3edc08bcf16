import pytest
import torch
from sentence_transformers.util import pairwise_cos_sim

from hf_multitask.models.heads import HEADS, build_head
from hf_multitask.models.objectives import Binary, Regression
from hf_multitask.training.optimizers import hasten

OPTIONS = {"Concat": {"features": ["u", "v", "|u-v|", "u*v"]}}


def head(name, **options):
    spec = {"class": name, **OPTIONS.get(name, {}), **options}
    return build_head(spec, width=8, outputs=1, dropout=0.5).eval()


@pytest.mark.parametrize("name", HEADS)
def test_scores_have_one_row_a_text_or_pair(name):
    built = head(name)
    texts = torch.randn(built.texts, 5, 8)
    assert built(*texts).shape == (5, 1)
    assert torch.equal(built(*texts), built(*texts))
    built.train()
    assert not torch.equal(built(*texts), built(*texts))


def test_concat_sees_its_features():
    u, v = torch.randn(2, 5, 8)
    built = head("Concat")
    joined = torch.cat([u, v, (u - v).abs(), u * v], dim=1)
    torch.testing.assert_close(built(u, v), joined @ built.body.out.weight.T + built.body.out.bias)
    assert head("Concat", hidden=3).body.dense.weight.shape == (3, 32)


def test_cosine_is_scaled_and_shifted():
    u, v = torch.randn(2, 5, 8)
    built = head("Cosine", scale=3.0, shift=-1.0)
    torch.testing.assert_close(built(u, v)[:, 0], 3 * pairwise_cos_sim(u, v) - 1)
    assert built.scalars.requires_grad
    torch.testing.assert_close(head("Cosine", learned=False)(u, v)[:, 0], pairwise_cos_sim(u, v))


@pytest.mark.parametrize(
    ("objective", "scores"),
    [
        (Regression(0, 5), (0, 5)),
        (Regression(-1, 3), (-1, 3)),
        (Regression(0, 5, bounded=True), (-5, 5)),
        (Binary(), (-5, 5)),
    ],
)
def test_cosine_begins_where_it_spans_the_answers(objective, scores):
    built = build_head({"class": "Cosine"}, width=2, outputs=1, dropout=0.0, reach=objective.reach)
    u, v = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    torch.testing.assert_close(built(u, v)[:, 0], torch.tensor(scores, dtype=torch.float))


def test_cosine_finds_the_place_between_near_pairs_and_nearer_ones_at_a_trunks_rate():
    """Embeddings of one topic are all alike: pairs at .8 are no duplicates, pairs at .9 are."""
    cosine = torch.tensor([0.8, 0.9]).repeat(8)
    u, v = torch.tensor([[1.0, 0.0]]).expand(16, 2), torch.stack([cosine, (1 - cosine.square()).sqrt()], dim=1)
    built = build_head({"class": "Cosine"}, width=2, outputs=1, dropout=0.0, reach=Binary().reach)
    optimizer = torch.optim.AdamW(built.parameters(), lr=4e-5)
    hasten(optimizer, built)
    labels = torch.tensor([0, 1]).repeat(8)
    for _ in range(1000):
        Binary().loss(built(u, v), labels).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(Binary().decode(built(u, v)).values, labels)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"class": "Linaer"}, "Did you mean 'Linear'"),
        ({"class": "Concat", "features": ["u", "u+v"]}, "feature of Concat 'u\\+v'"),
        ({"class": "Concat", "features": []}, "one feature or more"),
        ({"class": "MLP", "width": 9}, "Unknown option of MLP 'width'"),
        ({"hidden": 3}, "class: Name"),
    ],
)
def test_mistakes_are_named(spec, complaint):
    with pytest.raises(ValueError, match=complaint):
        build_head(spec, width=8, outputs=1, dropout=0.0)


def test_cosine_gives_one_score():
    with pytest.raises(ValueError, match="use Concat"):
        build_head({"class": "Cosine"}, width=8, outputs=5, dropout=0.0)
