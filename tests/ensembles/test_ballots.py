import numpy as np
import pytest
import torch

from hf_multitask import QQP, SST, EnsembleModel, MultitaskConfig, MultitaskModel, evaluate
from hf_multitask.ensembles.ballots import Recorded, collect
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


def test_what_was_said_once_is_not_asked_again(folders, data, tmp_path, monkeypatch):
    asked = []
    answer = MultitaskModel.answer
    monkeypatch.setattr(
        MultitaskModel, "answer", lambda self, task, *a, **kw: asked.append(task) or answer(self, task, *a, **kw)
    )
    cache = tmp_path / "cache"
    first = collect(EnsembleModel.from_members(folders), data, cache=cache)
    assert asked == ["sst", "sst", "qqp"]
    again = collect(EnsembleModel.from_members(folders[::-1]), data, cache=cache)
    assert len(asked) == 3
    assert torch.equal(again["sst"].scores, first["sst"].scores.flip(0))
    assert again["sst"].seconds == first["sst"].seconds[::-1]
    collect(EnsembleModel.from_members(folders), {"sst": data["sst"].select(range(9))}, cache=cache)
    assert len(asked) == 5
    turned = data["qqp"].rename_columns({"first": "second", "second": "first"})
    alike = data["qqp"].remove_columns("second").add_column("second", turned["second"][:])
    for pairs in (turned, alike):
        collect(EnsembleModel.from_members(folders), {"qqp": pairs}, cache=cache)
    assert asked[5:] == ["qqp", "qqp"]
    del asked[5:]
    model = MultitaskModel.from_pretrained(folders[0])
    model.heads["sst"].out.bias.data += 1
    model.save_pretrained(folders[0])
    collect(EnsembleModel.from_members(folders), {"sst": data["sst"]}, cache=cache)
    assert len(asked) == 6
    # In memory it is what it is in its folder, until it is changed there.
    collect(EnsembleModel.from_members([model.eval()]), {"sst": data["sst"]}, cache=cache)
    assert len(asked) == 6
    for change in (lambda: model.heads["sst"].out.bias.data.mul_(2), lambda: model.to(torch.bfloat16)):
        change()
        for _ in range(2):
            collect(EnsembleModel.from_members([model]), {"sst": data["sst"]}, cache=cache)
    assert len(asked) == 8
    collect(
        EnsembleModel.from_members(folders[:1], dtype=torch.bfloat16, one_at_a_time=True),
        {"sst": data["sst"]},
        cache=cache,
    )
    assert len(asked) == 9
