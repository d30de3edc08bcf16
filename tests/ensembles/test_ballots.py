import numpy as np
import pytest
import torch

from hf_multitask import QQP, SST, EnsembleModel, MultitaskConfig, MultitaskModel, evaluate
from hf_multitask.ensembles.ballots import Recorded, collect, texts_of
from hf_multitask.evaluation.answers import Answers, save_answers
from hf_multitask.models.combiners import Mean, Route


@pytest.fixture
def folders(small, tokenizer, tmp_path):
    """Two models that know sst, of which the second knows qqp as well."""
    paths = []
    for seed, tasks in enumerate([(SST,), (SST, QQP)]):
        torch.manual_seed(seed)
        described = {task.name: task.describe() for task in tasks}
        model = MultitaskModel(MultitaskConfig(trunk=small, tasks=described))
        model.tokenizer = tokenizer
        model.save_pretrained(tmp_path / str(seed))
        paths.append(tmp_path / str(seed))
    return paths


@pytest.fixture
def data(rows):
    return {name: rows[name] for name in ("sst", "qqp")}


@pytest.fixture
def heard(monkeypatch):
    """The task of every question that a model is asked."""
    tasks = []
    answer = MultitaskModel.answer
    monkeypatch.setattr(
        MultitaskModel, "answer", lambda self, task, *a, **kw: tasks.append(task) or answer(self, task, *a, **kw)
    )
    return tasks


def test_what_is_made_of_a_ballot_is_what_the_ensemble_says(folders, data):
    ensemble = EnsembleModel.from_members(folders)
    ballots = collect(ensemble, data)
    joined = {name: ballot.join(Mean()).float() for name, ballot in ballots.items()}
    texts = data["qqp"]["first"][:], data["qqp"]["second"][:]
    torch.testing.assert_close(joined["qqp"], ensemble.predict("qqp", *texts).scores)
    wanted = evaluate(ensemble, data, resamples=10)
    found = evaluate(Recorded(ensemble.tasks, joined), data, resamples=10)
    for name in data:
        assert found.tasks[name].pop("loss") == pytest.approx(wanted.tasks[name].pop("loss"), rel=1e-6)
        assert found.tasks[name] == wanted.tasks[name]
        assert ballots[name].measure(Mean()) == wanted.values[name]
    assert ballots["qqp"].able == [1]
    assert ballots["qqp"].knowing == (False, True)


def test_some_rows_are_those_rows(folders, data):
    whole = collect(EnsembleModel.from_members(folders), data)["sst"]
    part = whole.rows(chosen := np.array([3, 5, 30]))
    assert torch.equal(part.join(Route(1)), whole.join(Route(1))[chosen])
    assert part.labels.tolist() == whole.labels[chosen].tolist()


@pytest.mark.parametrize("one_at_a_time", [True, False])
def test_what_a_member_says_cross_fitted_comes_from_answers_to_the_same_rows(folders, data, tmp_path, one_at_a_time):
    pair = EnsembleModel.from_members(folders, combiners={"sst": {"class": "Weighted", "weights": [0.3, 0.7]}})
    pair.save_pretrained(tmp_path / "pair")
    nested = EnsembleModel.from_members([tmp_path / "pair", folders[1]], one_at_a_time=one_at_a_time)
    plain = collect(nested, data)
    assert (plain["sst"].unfair, plain["qqp"].unfair) == ((0,), ())
    assert plain["sst"].fairly() is plain["sst"]
    said = plain["sst"].scores[0].numpy()
    kept = Answers(said, said.argmax(1), plain["sst"].labels, fair_scores=said[::-1].copy(), fair_values=said.argmax(1))
    save_answers({"sst": kept}, tmp_path / "pair")
    fair = collect(nested, data)["sst"]
    assert fair.unfair == ()
    assert torch.equal(fair.scores, plain["sst"].scores)
    np.testing.assert_allclose(fair.fairly().scores[0], said[::-1])
    assert torch.equal(fair.fairly().scores[1], fair.scores[1])
    chosen = np.array([3, 5])
    assert torch.equal(fair.rows(chosen).fairly().scores, fair.fairly().scores[:, chosen])
    # Those of other rows tell nothing.
    save_answers({"sst": kept._replace(labels=kept.labels[::-1].copy())}, tmp_path / "pair")
    assert collect(nested, data)["sst"].unfair == (0,)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("one_at_a_time", [True, False])
def test_an_ensemble_among_the_members_is_asked_by_its_own(folders, data, tmp_path, heard, cached, one_at_a_time):
    pair = EnsembleModel.from_members(folders, combiners={"sst": {"class": "Weighted", "weights": [0.3, 0.7]}})
    pair.config.temperatures = {"sst": 2.0}
    pair.save_pretrained(tmp_path / "pair")
    only = EnsembleModel.from_members(folders, combiners={"sst": {"class": "Route", "member": 0}})
    only.save_pretrained(tmp_path / "only")
    cache = tmp_path / "cache" if cached else None
    first = collect(EnsembleModel.from_members(folders), data, cache=cache)
    del heard[:]
    nested = EnsembleModel.from_members([tmp_path / "pair", tmp_path / "only"], one_at_a_time=one_at_a_time)
    found = collect(nested, data, cache=cache)
    assert heard == ([] if cached else ["sst", "sst", "sst", "qqp", "qqp"])
    for task in data:
        texts = texts_of(nested.tasks[task], data[task])
        for number in range(2):
            assert torch.equal(found[task].scores[number], nested.member(number).answer(task, texts).double())
    if cached:
        assert found["sst"].seconds == (sum(first["sst"].seconds), first["sst"].seconds[0])
    assert min(found["sst"].seconds) > 0


def test_what_was_said_once_is_not_asked_again(folders, data, tmp_path, heard):
    cache = tmp_path / "cache"
    first = collect(EnsembleModel.from_members(folders), data, cache=cache)
    assert heard == ["sst", "sst", "qqp"]
    again = collect(EnsembleModel.from_members(folders[::-1]), data, cache=cache)
    assert len(heard) == 3
    assert torch.equal(again["sst"].scores, first["sst"].scores.flip(0))
    assert again["sst"].seconds == first["sst"].seconds[::-1]
    collect(EnsembleModel.from_members(folders), {"sst": data["sst"].select(range(9))}, cache=cache)
    assert len(heard) == 5
    turned = data["qqp"].rename_columns({"first": "second", "second": "first"})
    alike = data["qqp"].remove_columns("second").add_column("second", turned["second"][:])
    for pairs in (turned, alike):
        collect(EnsembleModel.from_members(folders), {"qqp": pairs}, cache=cache)
    assert heard[5:] == ["qqp", "qqp"]
    del heard[5:]
    model = MultitaskModel.from_pretrained(folders[0])
    model.heads["sst"].out.bias.data += 1
    model.save_pretrained(folders[0])
    collect(EnsembleModel.from_members(folders), {"sst": data["sst"]}, cache=cache)
    assert len(heard) == 6
    # In memory it is what it is in its folder, until it is changed there.
    collect(EnsembleModel.from_members([model.eval()]), {"sst": data["sst"]}, cache=cache)
    assert len(heard) == 6
    for change in (lambda: model.heads["sst"].out.bias.data.mul_(2), lambda: model.to(torch.bfloat16)):
        change()
        for _ in range(2):
            collect(EnsembleModel.from_members([model]), {"sst": data["sst"]}, cache=cache)
    assert len(heard) == 8
    collect(
        EnsembleModel.from_members(folders[:1], dtype=torch.bfloat16, one_at_a_time=True),
        {"sst": data["sst"]},
        cache=cache,
    )
    assert len(heard) == 9
