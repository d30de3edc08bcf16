import dataclasses
import gc
import json
import os
import shutil
import subprocess
import sys
import weakref

import pytest
import torch
from batches import FIRST, SECOND
from transformers import AutoModel, BertConfig, BertModel

from hf_multitask import (
    QQP,
    SST,
    STS,
    EnsembleConfig,
    EnsembleModel,
    MultitaskConfig,
    MultitaskModel,
    PalConfig,
    Regression,
)
from hf_multitask.models import encoding
from hf_multitask.models.combiners import Vote
from hf_multitask.models.objectives import Classification

CORE = (SST, QQP, STS)


@pytest.fixture
def build(small, tokenizer):
    """A model of its own weights, for some tasks."""

    def built(seed, *tasks, **options):
        torch.manual_seed(seed)
        described = {task.name: task.describe() for task in tasks or CORE}
        model = MultitaskModel(MultitaskConfig(trunk=small, tasks=described, **{"max_length": 32, **options}))
        # Heads with something to say: what they begin with is nearly the same for all rows.
        for parameter in model.heads.parameters():
            torch.nn.init.normal_(parameter)
        model.tokenizer = tokenizer
        return model

    return built


@pytest.fixture
def folders(build, tmp_path):
    """Three models, saved."""
    paths = [tmp_path / name for name in "abc"]
    for seed, path in enumerate(paths):
        build(seed).save_pretrained(path)
    return paths


def scores(predictor):
    return {
        name: predictor.predict(name, FIRST, SECOND if task["pair"] else None).scores
        for name, task in predictor.tasks.items()
    }


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def assert_near(one, other):
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=lambda m, n=name: f"{n}: {m}")


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


NEW_PROCESS = """
import sys, torch, hf_multitask
from transformers import AutoModel
folder, kept, first, second = {!r}, {!r}, {!r}, {!r}
for lazy in (False, True):
    model = AutoModel.from_pretrained(folder, one_at_a_time=lazy)
    for name, want in torch.load(kept).items():
        found = model.predict(name, first, second if model.tasks[name]["pair"] else None).scores
        assert torch.equal(found, want), name
    print(type(model).__name__, len(model.members))
"""


def test_saved_and_loaded_in_a_new_process_it_gives_identical_scores(folders, build, tmp_path):
    inner = EnsembleModel.from_members(folders[:2], combiner={"class": "Weighted", "weights": [1, 3]})
    options = {"combiners": {"sst": {"class": "Vote"}, "qqp": {"class": "Route", "member": 0}}}
    ensemble = EnsembleModel.from_members([inner, folders[2], build(7, SST)], **options)
    ensemble.config.temperatures = {"sst": 1.5}
    ensemble.save_pretrained(tmp_path / "ensemble")
    torch.save(scores(ensemble), tmp_path / "scores")
    for folder in folders:
        shutil.rmtree(folder)
    code = NEW_PROCESS.format(str(tmp_path / "ensemble"), str(tmp_path / "scores"), FIRST, SECOND)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.stdout.split() == ["EnsembleModel", "3", "EnsembleModel", "0"], done.stderr


def test_one_at_a_time_no_member_stays_in_memory(folders, monkeypatch):
    living = []
    load = MultitaskModel.from_pretrained.__func__

    def loaded(cls, *args, **options):
        gc.collect()
        living.append(sum(model() is not None for model in models))
        model = load(cls, *args, **options)
        models.append(weakref.ref(model))
        return model

    models = []
    monkeypatch.setattr(MultitaskModel, "from_pretrained", classmethod(loaded))
    lazy = EnsembleModel.from_members(folders, one_at_a_time=True)
    found = scores(lazy)
    assert len(living) == 3 * len(CORE)
    assert not any(living)
    monkeypatch.undo()
    assert_equal(found, scores(EnsembleModel.from_members(folders)))


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


def change_weights(member):
    weights = bytearray((member / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (member / "model.safetensors").write_bytes(weights)


def change_config(member):
    config = json.loads((member / "config.json").read_text())
    (member / "config.json").write_text(json.dumps({**config, "pooling": "cls"}))


def pickle_weights(member):
    torch.save({}, member / "pytorch_model.bin")
    (member / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (shutil.rmtree, "is missing: there is no such folder"),
        (change_weights, "has changed since the ensemble was saved"),
        (change_config, "has changed since the ensemble was saved"),
        (pickle_weights, "pytorch_model.bin, a pickle, which is not read"),
        (lambda member: (member / "model.safetensors").unlink(), "has no weights"),
        (lambda member: (member / "config.json").unlink(), "has no config.json"),
    ],
)
def test_a_member_that_is_not_what_it_was_is_named(spoil, complaint, folders, tmp_path):
    EnsembleModel.from_members(folders).save_pretrained(tmp_path / "ensemble")
    spoil(tmp_path / "ensemble" / "members" / "1")
    for lazily in (False, True):
        with pytest.raises(ValueError, match=rf"Member 1 \(.*members/1\).*{complaint}"):
            AutoModel.from_pretrained(tmp_path / "ensemble", one_at_a_time=lazily)


def test_a_pickle_is_no_member_and_neither_is_another_model(folders, tmp_path):
    pickle_weights(folders[1])
    with pytest.raises(ValueError, match=r"Member 1 .*a pickle, which is not read"):
        EnsembleModel.from_members(folders)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=30, **sizes)).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match=r"Member 1 .*is a 'bert'"):
        EnsembleModel.from_members([folders[0], tmp_path / "bert"])


def test_a_member_of_the_hub_stays_there_by_its_commit(folders, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--me--model"
    shutil.copytree(folders[0], repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    ensemble = EnsembleModel.from_members(["me/model", folders[1]])
    ensemble.save_pretrained(tmp_path / "ensemble")
    assert [path.name for path in (tmp_path / "ensemble" / "members").iterdir()] == ["1"]
    kept = EnsembleConfig.from_pretrained(tmp_path / "ensemble").members[0]
    assert (kept["repo"], kept["revision"]) == ("me/model", commit)
    cache = {"cache_dir": tmp_path / "hub", "local_files_only": True}
    assert_equal(scores(EnsembleModel.from_pretrained(tmp_path / "ensemble", **cache)), scores(ensemble))
    change_weights(repo / "snapshots" / commit)
    with pytest.raises(ValueError, match=r"Member 0 \(me/model\) .* has changed"):
        EnsembleModel.from_pretrained(tmp_path / "ensemble", **cache)


def test_saved_over_itself_it_stays_whole(folders, tmp_path):
    EnsembleModel.from_members(folders).save_pretrained(tmp_path / "ensemble")
    ensemble = AutoModel.from_pretrained(tmp_path / "ensemble", one_at_a_time=True)
    ensemble.config.temperatures = {"qqp": 2.0}
    ensemble.save_pretrained(tmp_path / "ensemble")
    assert_equal(scores(AutoModel.from_pretrained(tmp_path / "ensemble")), scores(ensemble))


def test_saved_over_itself_it_keeps_what_was_changed_in_memory(folders, tmp_path):
    EnsembleModel.from_members(folders).save_pretrained(tmp_path / "ensemble")
    ensemble = AutoModel.from_pretrained(tmp_path / "ensemble")
    with torch.no_grad():
        ensemble.members[0].heads["sst"].out.weight.mul_(2)
    ensemble.save_pretrained(tmp_path / "ensemble")
    assert_equal(scores(AutoModel.from_pretrained(tmp_path / "ensemble")), scores(ensemble))
    assert sorted(os.listdir(tmp_path / "ensemble" / "members")) == ["0", "1", "2"]


def test_members_may_change_places_within_their_folder(folders, tmp_path):
    first = EnsembleModel.from_members(folders[:2], combiner={"class": "Route", "member": 0})
    first.save_pretrained(tmp_path / "ensemble")
    places = [tmp_path / "ensemble" / "members" / name for name in "10"]
    turned = EnsembleModel.from_members(places, combiner={"class": "Route", "member": 0}, one_at_a_time=True)
    want = scores(turned)
    turned.save_pretrained(tmp_path / "ensemble")
    assert_equal(scores(turned), want)
    assert_equal(scores(AutoModel.from_pretrained(tmp_path / "ensemble")), want)


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
    for objective, scores in (
        (QQP.objective, torch.tensor([[[0.3]], [[-0.3 + 1e-5]]])),
        (SST.objective, torch.tensor([[[0.3, 0, 0, 0, 0]], [[0, 0.3 + 1e-5, 0, 0, 0]]])),
    ):
        joined = Vote()(scores.double(), objective)
        assert objective.decode(joined.float()).values.item() == 1
