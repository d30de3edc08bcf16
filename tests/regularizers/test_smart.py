import math
from itertools import chain, product

import pytest
import torch

from hf_multitask import MultitaskModel
from hf_multitask.models.batch import Batch
from hf_multitask.models.replay import Replay
from hf_multitask.regularizers import Smart, smart
from hf_multitask.regularizers.noise import normal
from hf_multitask.regularizers.regularizer import divergences
from hf_multitask.regularizers.smart import row_sizes

KEY = {"seed": 3, "step": 5}
# Large enough to be seen to nine digits.
VISIBLE = {"epsilon": 0.05, "eta": 0.02, "sigma": 0.03}
TUNERS = (None, "pal", "lora")
KINDS = ["sst", "qqp", "sts", "apart"]


def passed(model, batch):
    """What repeats a pass, and the pass's scores."""
    replay = Replay(model, batch)
    return replay, model.read(batch, replay.words)


def tokens_of(batch, sequences):
    """The flat tokens of some sequences, those of each in a list."""
    starts = batch.packing.starts.tolist()
    return [list(range(starts[s], starts[s] + int(batch.packing.lengths[s]))) for s in sequences]


def alone(batch, name, row):
    """One row as a batch of its own."""
    sequences = batch.rows[name][row].flatten().tolist()
    places = tokens_of(batch, sequences)
    flat = [place for part in places for place in part]
    lengths = torch.tensor([len(part) for part in places])
    rows = torch.arange(len(sequences))[None] if len(sequences) == 2 else torch.tensor([0])
    segments = None if batch.token_type_ids is None else batch.token_type_ids[flat]
    return Batch.of(batch.input_ids[flat], lengths, int(lengths.max()), {name: rows}, segments)


def divergence_by_hand(name, one, other):
    """Symmetric KL of classes, of Bernoulli variables, or a squared difference; scores [outputs]."""
    if name == "sst":
        p, q = (torch.exp(s) / torch.exp(s).sum() for s in (one, other))
        return sum(p[c] * (p[c] / q[c]).log() + q[c] * (q[c] / p[c]).log() for c in range(len(p)))
    if name == "qqp" and len(one) == 1:
        p, q = (1 / (1 + torch.exp(-s[0])) for s in (one, other))
        chances = [(p, q), (1 - p, 1 - q)]
        return sum(a * (a / b).log() + b * (b / a).log() for a, b in chances)
    return (one[0] - other[0]) ** 2


def norm_of(x, norm):
    return max(abs(v) for v in x.flatten().tolist()) if norm == "inf" else math.sqrt(sum(v * v for v in x.flatten()))


def row_by_hand(model, batch, name, *, epsilon, eta, sigma, norm, steps, mode):
    """The divergence of one row, as algorithm 1 of the paper has it, or as the published programs run it."""
    words = model.get_input_embeddings()(batch.input_ids)
    clean = model.read(batch, words)[name][0]
    d = sigma * normal(batch, words.shape[1], **KEY).double()
    for _ in range(steps):
        d.requires_grad_()
        moved = model.read(batch, words.detach() + d)[name][0]
        (g,) = torch.autograd.grad(divergence_by_hand(name, moved, clean.detach()), d)
        d = d.detach()
        if mode == "paper":
            d = d + eta * g / norm_of(g, norm)
            if norm == "inf":
                d.apply_(lambda number: max(-epsilon, min(number, epsilon)))
            elif norm_of(d, norm) > epsilon:
                d = d * epsilon / norm_of(d, norm)
        else:
            if mode == "mtdnn":
                g = torch.stack([gt / norm_of(gt, norm) for gt in g])
            d = d + eta * g
            d = torch.stack([t / (norm_of(t, norm) + epsilon) for t in d])
    return divergence_by_hand(name, clean, model.read(batch, words + d)[name][0])


@pytest.mark.parametrize("mode", ["paper", "mtdnn", "mtdnn_raw"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("epsilon", [0.05, 5.0])
def test_it_equals_a_slow_reference_row_by_row(epsilon, norm, steps, mode, one_pass):
    options = {**VISIBLE, "epsilon": epsilon, "norm": norm, "steps": steps, "mode": mode}
    if mode == "mtdnn_raw":
        options |= {"epsilon": epsilon / 5, "eta": 2.0, "sigma": 3.0}
    replay, scores = one_pass(dtype=torch.double)
    model, batch = replay.model, replay.batch
    rows, _ = Smart(**options)(replay, scores, **KEY)
    assert list(rows) == KINDS
    want = {
        name: torch.stack([row_by_hand(model, alone(batch, name, i), name, **options) for i in range(len(found))])
        for name, found in rows.items()
    }
    weights = list(model.parameters())
    for name, found in rows.items():
        assert found.min() > 1e-6
        torch.testing.assert_close(found, want[name], atol=1e-9, rtol=1e-9)
        both = [
            torch.autograd.grad(values.mean(), weights, retain_graph=True, allow_unused=True)
            for values in (found, want[name])
        ]
        for one, other in zip(*both, strict=True):
            torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def random_batch(draw):
    """Four rows of each task, of random words."""
    lengths = torch.randint(3, 13, (20,), generator=draw)
    ids = torch.randint(5, 30, (int(lengths.sum()),), generator=draw)
    rows = {name: torch.arange(4 * i, 4 * i + 4) for i, name in enumerate(KINDS)}
    rows["apart"] = torch.arange(12, 20).view(4, 2)
    return Batch.of(ids, lengths, int(lengths.max()), rows)


def perturbations(monkeypatch):
    """Every perturbation that is made from now on, with the gradient that it follows."""
    made, climb = [], Smart.climb

    def watched(self, noise, gradient, batch):
        made.append((climb(self, noise, gradient, batch), gradient))
        return made[-1][0]

    monkeypatch.setattr(Smart, "climb", watched)
    return made


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
@pytest.mark.parametrize("norm", ["inf", "2"])
def test_at_the_published_settings_it_climbs_further_than_chance(norm, dtype, build, monkeypatch):
    model, made = build(dtype=dtype), perturbations(monkeypatch)
    draw, better = torch.Generator().manual_seed(0), dict.fromkeys(KINDS, 0)
    for number in range(20):
        batch = random_batch(draw)
        replay, scores = passed(model, batch)
        climbed, _ = Smart(norm=norm)(replay, scores, seed=number, step=0)
        noise = torch.randn(made[-1][0].shape, generator=draw, dtype=dtype)
        size = row_sizes(made[-1][0], "2", batch) / row_sizes(noise, "2", batch)
        random = divergences(model, scores, replay(replay.words + noise * batch.to_tokens(size)[:, None]))
        for name, rows in random.items():
            better[name] += (climbed[name].mean() > rows.mean()).item()
    assert min(better.values()) >= 19, better


@pytest.mark.parametrize(("mode", "cosines"), [("mtdnn", (0.8, 1)), ("mtdnn_raw", (0, 0.3))])
def test_a_step_of_mt_dnns_size_follows_the_gradient_if_that_has_a_size_too(mode, cosines, one_pass, monkeypatch):
    made = perturbations(monkeypatch)
    replay, scores = one_pass()
    _, measures = Smart(mode=mode, epsilon=1e-7)(replay, scores, **KEY)
    ((found, _),) = made
    least, most = cosines
    assert all(least < cosine.min() and cosine.max() < most for cosine in measures["cosine"].values())
    torch.testing.assert_close(found.abs().amax(-1), torch.ones(len(found)), atol=0.02, rtol=0)


@pytest.mark.parametrize(("trunk", "tuner"), [*product(("minbert", "roberta"), TUNERS), ("modernbert", None)])
@pytest.mark.parametrize(
    "options", [{"dropout": "shared"}, {"dropout": "off"}, {"mode": "mtdnn"}, {"mode": "mtdnn_raw"}]
)
def test_without_noise_the_answers_are_the_clean_ones_exactly(options, trunk, tuner, one_pass, monkeypatch):
    monkeypatch.setattr(smart, "normal", lambda batch, width, **_: torch.zeros(len(batch.input_ids), width))
    replay, scores = one_pass(trunk=trunk, tuner=tuner, dropout=0.3)
    modes = [module.training for module in replay.model.modules()]
    read = [scores]
    monkeypatch.setattr(MultitaskModel, "read", recorded(MultitaskModel.read, read))
    rows, _ = Smart(**options)(replay, scores, **KEY)
    assert all((found == 0).all() for found in rows.values())
    for name in KINDS:
        assert torch.equal(read[-1][name], read[-2][name])
    assert [module.training for module in replay.model.modules()] == modes


def recorded(function, found):
    def wrapper(*arguments):
        found.append(function(*arguments))
        return found[-1]

    return wrapper


def test_fresh_dropout_drowns_what_shared_dropout_shows(one_pass):
    sizes = {}
    for dropout in ("shared", "off", "fresh"):
        replay, scores = one_pass(dropout=0.1)
        sizes[dropout] = Smart(dropout=dropout)(replay, scores, **KEY)[0]["sts"].mean().item()
    assert sizes["shared"] == pytest.approx(sizes["off"], rel=3)
    assert sizes["fresh"] > 1e4 * sizes["shared"]


@pytest.mark.parametrize("trunk", ["minbert", "roberta", "modernbert"])
def test_a_row_has_the_same_penalty_in_any_batch(trunk, build):
    model = build(trunk=trunk, dtype=torch.double)
    draw = torch.Generator().manual_seed(0)
    batch = random_batch(draw)
    ids = torch.randint(5, 30, (30,), generator=draw)
    twice = Batch.of(
        torch.cat([batch.input_ids, ids, batch.input_ids]),
        torch.cat([batch.packing.lengths, torch.tensor([30]), batch.packing.lengths]),
        30,
        {name: torch.cat([rows, rows + 21]) for name, rows in batch.rows.items()},
    )
    (rows, measures), (doubled, others) = (
        Smart(**VISIBLE, norm="2")(*passed(model, found), **KEY) for found in (batch, twice)
    )
    for one, other in zip([rows, *measures.values()], [doubled, *others.values()], strict=True):
        for name, found in one.items():
            torch.testing.assert_close(torch.cat([found, found]), other[name], atol=1e-12, rtol=1e-9)


def test_the_ascent_wakes_no_weight(one_pass):
    replay, scores = one_pass()
    woken = []
    for weight in replay.model.parameters():
        weight.register_post_accumulate_grad_hook(woken.append)
    found = {name: score.detach() for name, score in scores.items()}
    gradient = Smart().gradient(replay, replay, torch.full_like(replay.words, 0.01), found)
    assert gradient.abs().max() > 0
    assert not woken
    assert all(weight.grad is None for weight in replay.model.parameters())


def test_the_embeddings_are_looked_up_once(one_pass, build):
    model, looked = build(), []
    model.get_input_embeddings().register_forward_hook(lambda *_: looked.append(1))
    Smart(steps=3)(*one_pass(model), **KEY)
    assert len(looked) == 1


def test_it_works_with_activation_checkpointing(build, one_pass):
    found = []
    for checkpointing in (False, True):
        model = build(dropout=0.1)
        if checkpointing:
            model.activation_checkpointing_enable()
        rows, _ = Smart(**VISIBLE)(*one_pass(model), **KEY)
        torch.cat(list(rows.values())).sum().backward()
        found.append({name: weight.grad for name, weight in model.named_parameters()})
    torch.testing.assert_close(*found)


def test_what_is_logged_measures_the_perturbation(one_pass, monkeypatch):
    made = perturbations(monkeypatch)
    replay, scores = one_pass()
    _, measures = Smart(**VISIBLE)(replay, scores, **KEY)
    ((noise, gradient),) = made
    places = [*chain(*tokens_of(replay.batch, replay.batch.rows["apart"][1].tolist()))]
    one, other, words = (x[places].flatten() for x in (noise, gradient, replay.words))
    torch.testing.assert_close(measures["ratio"]["apart"][1], one.norm() / words.norm())
    torch.testing.assert_close(measures["cosine"]["apart"][1], torch.cosine_similarity(one, other, dim=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, r"weight of Smart must be 0 or more. Got -1"),
        ({"epsilon": 0.0}, r"epsilon of Smart must be above 0. Got 0"),
        ({"sigma": math.nan}, r"sigma of Smart must be above 0. Got nan"),
        ({"steps": 0}, r"steps of Smart must be 1 or more. Got 0"),
        ({"norm": "l2"}, r"Unknown norm of Smart 'l2'.*Choices: inf, 2"),
        ({"mode": "mt-dnn"}, r"Did you mean 'mtdnn'"),
        ({"dropout": "on"}, r"Choices: shared, off, fresh"),
        ({"every": 0}, r"every of Smart must be 1 or more"),
        ({"fraction": 0.0}, r"fraction of Smart must be above 0"),
    ],
)
def test_settings_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Smart(**options)
