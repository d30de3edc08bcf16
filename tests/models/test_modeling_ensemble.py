"""Several models that answer as one."""

import dataclasses

import pytest
import torch
from answers import assert_equal, assert_near, scores
from batches import FIRST, SECOND
from transformers import AutoModel

from hf_multitask import (
    QQP,
    SST,
    STS,
    EnsembleConfig,
    EnsembleModel,
    MultitaskModel,
    PalConfig,
    Regression,
)
from hf_multitask.models import encoding
from hf_multitask.models.combiners import Vote
from hf_multitask.models.objectives import Classification

KINDS = [{"class": "Mean"}, {"class": "Mean", "over": "logits"}, {"class": "Weighted", "weights": [2]}]


@pytest.mark.parametrize("combiner", [*KINDS, {"class": "Route", "member": 0}], ids=str)
def test_an_ensemble_of_one_is_its_member(combiner, build):
    model = build(1)
    assert_equal(scores(EnsembleModel.from_members([model], combiner=combiner)), scores(model))


def test_of_equal_members_it_is_the_member(build):
    model = build(1)
    for count in (2, 3):
        assert_equal(scores(EnsembleModel.from_members([model] * count, combiner=KINDS[1])), scores(model))
        mean = EnsembleModel.from_members([model] * count)
        for name, found in scores(mean).items():
            objective = mean.config.objective(name)
            torch.testing.assert_close(objective.answers(found), objective.answers(scores(model)[name]))


def test_a_nested_mean_equals_the_flat_one_with_its_weights(build):
    one, two, three = (build(seed) for seed in range(3))
    inner = EnsembleModel.from_members([one, two])
    nested = EnsembleModel.from_members([inner, three])
    flat = EnsembleModel.from_members([one, two, three], combiner={"class": "Weighted", "weights": [1, 1, 2]})
    assert_near(scores(nested), scores(flat))
    assert_near(scores(EnsembleModel.from_members([nested])), scores(flat))


def test_each_task_has_its_own_combiner_and_asks_only_whom_it_needs(build, monkeypatch):
    models = [build(seed) for seed in range(3)]
    asked = []
    answer = MultitaskModel.answer
    monkeypatch.setattr(
        MultitaskModel,
        "answer",
        lambda self, task, *rest, **options: asked.append(models.index(self)) or answer(self, task, *rest, **options),
    )
    ensemble = EnsembleModel.from_members(
        models, combiner={"class": "Route", "member": 2}, combiners={"sst": {"class": "Weighted", "weights": [1, 1, 0]}}
    )
    found = scores(ensemble)
    assert asked == [0, 1, 2, 2]
    assert torch.equal(found["sts"], scores(models[2])["sts"])


def test_members_that_nobody_asks_can_be_left_out(build, folders, tmp_path):
    weighted = {"class": "Weighted", "weights": [0, 2, 1]}
    for members in ([build(seed) for seed in range(3)], folders):
        combiners = {"combiner": {"class": "Route", "member": 2}, "combiners": {"sst": weighted}}
        ensemble = EnsembleModel.from_members(members, **combiners)
        before = scores(ensemble)
        ensemble.dismiss_idle()
        assert (len(ensemble.members), len(ensemble.sources)) == (2, 2)
        assert_equal(scores(ensemble), before)
        ensemble.save_pretrained(tmp_path / "few")
        assert_equal(scores(AutoModel.from_pretrained(tmp_path / "few")), before)


def test_members_need_not_know_every_task(build):
    both, single = build(0, SST, QQP), build(1, SST)
    ensemble = EnsembleModel.from_members([single, both])
    assert list(ensemble.tasks) == ["sst", "qqp"]
    assert torch.equal(scores(ensemble)["qqp"], scores(both)["qqp"])
    assert not torch.equal(scores(ensemble)["sst"], scores(both)["sst"])


def test_members_may_answer_the_same_question_by_other_objectives(build):
    plain = build(0, STS)
    bounded = build(1, dataclasses.replace(STS, objective=Regression(0, 5, bounded=True)))
    found = EnsembleModel.from_members([plain, bounded]).predict("sts", FIRST, SECOND).values
    wanted = [plain.predict("sts", FIRST, SECOND).scores[:, 0], bounded.predict("sts", FIRST, SECOND).values]
    torch.testing.assert_close(found, torch.stack(wanted).mean(0).clamp(0, 5))


def test_texts_are_tokenized_once_for_members_who_read_alike(build, folders, monkeypatch):
    calls = []
    encode = encoding.encode
    monkeypatch.setattr(encoding, "encode", lambda *args, **kw: calls.append(kw) or encode(*args, **kw))
    inner = EnsembleModel.from_members(folders[:2])
    ensemble = EnsembleModel.from_members([inner, folders[2], build(4, max_length=5)])
    ensemble.predict("sst", FIRST)
    assert [call["max_length"] for call in calls] == [32, 5]


def test_a_temperature_divides_what_a_model_and_an_ensemble_say(build):
    model = build(0)
    before = scores(model)
    model.config.temperatures = {"sst": 2.0}
    assert_equal(scores(model), {**before, "sst": before["sst"] / 2})
    ensemble = EnsembleModel.from_members([model])
    ensemble.config.temperatures = {"sst": 0.5}
    assert_equal(scores(ensemble), before)


def test_equal_weights_share_memory_and_others_do_not(build, tmp_path):
    for name in "ab":
        model = build(0)
        model.heads["sst"].out.bias.data += ord(name)
        model.save_pretrained(tmp_path / name)
    one, other = EnsembleModel.from_members([tmp_path / "a", tmp_path / "b"]).members
    for mine, theirs in zip(one.trunk.parameters(), other.trunk.parameters(), strict=True):
        assert mine.data_ptr() == theirs.data_ptr()
    assert one.heads["sst"].out.bias.data_ptr() != other.heads["sst"].out.bias.data_ptr()
    assert_equal(scores(one), scores(AutoModel.from_pretrained(tmp_path / "a")))
    assert_equal(scores(other), scores(AutoModel.from_pretrained(tmp_path / "b")))


def test_memory_is_shared_after_a_move_too(folders):
    ensemble = EnsembleModel.from_members([folders[0], folders[1], folders[0]]).to(torch.float64)
    places = [member.get_input_embeddings().weight.data_ptr() for member in ensemble.members]
    assert places[0] == places[2]
    assert places[0] != places[1]


def test_members_of_members_share_memory_too(folders, tmp_path):
    EnsembleModel.from_members(folders[:2]).save_pretrained(tmp_path / "inner")
    inner, alone = EnsembleModel.from_members([tmp_path / "inner", folders[1]]).members
    places = [member.get_input_embeddings().weight.data_ptr() for member in (*inner.members, alone)]
    assert places[0] != places[1]
    assert places[1] == places[2]


def test_members_with_adapters_share_the_trunk_beside_which_these_were_trained(build, tmp_path):
    for seed, name in enumerate("ab"):
        model = build(0)
        model.add_adapters(PalConfig(width=4, heads=2))
        for parameter in (weight for key, weight in model.named_parameters() if ".sst" in key):
            torch.nn.init.normal_(parameter, mean=seed)
        model.save_pretrained(tmp_path / name)
    ensemble = EnsembleModel.from_members([tmp_path / "a", tmp_path / "b"])
    words = [member.get_input_embeddings().weight.data_ptr() for member in ensemble.members]
    assert words[0] == words[1]
    for name, member in zip("ab", ensemble.members, strict=True):
        assert_equal(scores(member), scores(AutoModel.from_pretrained(tmp_path / name)))
    assert not torch.equal(*(scores(member)["sst"] for member in ensemble.members))
    ensemble.save_pretrained(tmp_path / "ensemble")
    assert_equal(scores(AutoModel.from_pretrained(tmp_path / "ensemble")), scores(ensemble))


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda models: EnsembleModel.from_members([]), "needs one member or more"),
        (lambda models: EnsembleModel.from_members(models, combiner={"class": "Men"}), "Did you mean 'Mean'"),
        (lambda models: EnsembleModel.from_members(models, combiner={"class": "Vote"}), "'sts': Vote counts labels"),
        (lambda models: EnsembleModel.from_members(models, combiners={"stt": {"class": "Mean"}}), "Did you mean 'st"),
        (lambda models: EnsembleModel.from_members(models, one_at_a_time=True), "Save those in memory first"),
        (lambda models: EnsembleModel.from_members(["no/such"]), "The member no/such is no folder here"),
        (lambda models: EnsembleModel.from_members(models).predict("qqq", ["a"]), "Did you mean 'qqp'"),
        (lambda models: EnsembleModel.from_members(models).predict("qqp", ["a"]), "reads two texts a row"),
        (lambda models: EnsembleModel(EnsembleConfig()), "from_members"),
        (lambda models: EnsembleConfig(temperatures={"sts": 0.0}, **known(models)), "(?s)above zero.*numbers has none"),
    ],
)
def test_mistakes_are_named(call, complaint, build, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=complaint):
        call([build(0), build(1)])


def known(models):
    return {"tasks": models[0].tasks, "members": [{"tasks": list(models[0].tasks)}]}


def test_members_that_mean_different_tasks_by_a_name_are_refused(build):
    other = dataclasses.replace(SST, objective=Classification(["bad", "good"]))
    with pytest.raises(ValueError, match="Member 1 means another task by 'sst'"):
        EnsembleModel.from_members([build(0), build(1, other)])


def test_an_option_that_is_none_is_refused(folders, tmp_path):
    EnsembleModel.from_members(folders).save_pretrained(tmp_path / "ensemble")
    with pytest.raises(TypeError, match="Did you mean 'one_at_a_time'"):
        EnsembleModel.from_pretrained(tmp_path / "ensemble", one_at_time=True)


@pytest.mark.parametrize("task", [SST, QQP], ids=lambda task: task.name)
def test_a_tied_vote_goes_to_the_higher_probability_in_single_precision_too(build, task):
    """Two members of equal weight are tied wherever they disagree."""
    members = [build(seed, task) for seed in (0, 1)]
    ensemble = EnsembleModel.from_members(members, combiner={"class": "Vote"})
    texts = (FIRST * 20, SECOND * 20) if task.pair else (FIRST * 20,)
    answers = torch.stack([member.predict(task.name, *texts).probabilities.double() for member in members])
    # Of each member's own label, the one that both together find likelier.
    chosen = answers.argmax(-1)
    votes = torch.zeros_like(answers).scatter_(-1, chosen[..., None], 1).sum(0)
    wanted = (votes * 10 + answers.mean(0)).argmax(-1)
    assert (chosen[0] != chosen[1]).any()
    assert torch.equal(ensemble.predict(task.name, *texts).values, wanted)


def test_a_tie_by_a_hair_outlasts_single_precision():
    for objective, said in (
        (QQP.objective, torch.tensor([[[0.3]], [[-0.3 + 1e-5]]])),
        (SST.objective, torch.tensor([[[0.3, 0, 0, 0, 0]], [[0, 0.3 + 1e-5, 0, 0, 0]]])),
    ):
        joined = Vote()(said.double(), objective)
        assert objective.decode(joined.float()).values.item() == 1
