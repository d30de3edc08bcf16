"""Ensembles in folders: what is saved, what is read again, and what is refused."""

import gc
import json
import os
import shutil
import subprocess
import sys
import weakref

import pytest
import torch
from answers import assert_equal, scores
from batches import FIRST, SECOND
from transformers import AutoModel, BertConfig, BertModel

from hf_multitask import (
    SST,
    EnsembleConfig,
    EnsembleModel,
    MultitaskModel,
)

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
    assert len(living) == 3 * len(lazy.tasks)
    assert not any(living)
    monkeypatch.undo()
    assert_equal(found, scores(EnsembleModel.from_members(folders)))


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
