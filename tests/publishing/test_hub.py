"""Publishing over HTTP, to a Hub on loopback."""

import contextlib
import json
import resource
import signal

import pytest
from commands import call, load
from transformers import AutoModel, pipeline

from hf_multitask import EnsembleModel, MultitaskModel
from hf_multitask.arguments import MultitaskTrainingArguments
from hf_multitask.hub import publish
from hf_multitask.trainer import MultitaskTrainer

PUBLISH = load("publish")


@contextlib.contextmanager
def room_for(size):
    """Files may grow no larger."""
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_the_same_again_is_no_new_commit_and_what_is_outdated_goes(hub, folder):
    address = publish(folder, "me/model")
    count = len(hub.repos["me/model"].commits)
    assert publish(folder, "me/model") == address
    assert len(hub.repos["me/model"].commits) == count
    mine = {"notes.txt": b"mine", "handler.py": b"mine", "tools/convert.bin": b"mine"}
    outdated = {"pytorch_model.bin": b"evil", "members/old/config.json": b"{}", "merges.txt": b""}
    hub.repos["me/model"].add({**hub.files(), **outdated, **mine})
    publish(folder, "me/model")
    assert not outdated.keys() & hub.files().keys()
    assert {name: hub.files()[name] for name in mine} == mine
    publish(folder, "me/model", revision="v1")
    assert hub.repos["me/model"].at("v1")[1].keys() == hub.files().keys()


def test_a_public_repo_takes_nothing_private(hub, folder):
    publish(folder, "me/open")
    with pytest.raises(ValueError, match="me/open is there, and everybody sees it"):
        publish(folder, "me/open", private=True)
    publish(folder, "me/closed", private=True)
    publish(folder, "me/closed", private=True)
    assert hub.repos["me/closed"].private


def test_an_adapter_takes_no_models_place(hub, folder, build, tmp_path):
    publish(folder, "me/model")
    before = hub.repos["me/model"].at("main")
    build(0, pals=True).save_pretrained(tmp_path / "pal")
    with pytest.raises(ValueError, match="me/model holds a model, and this is an adapter"):
        publish(tmp_path / "pal" / "adapters" / "sst", "me/model", base="me/pal")
    assert hub.repos["me/model"].at("main") == before


@pytest.mark.parametrize("place", ["/home/somebody/gone", "~/gone", "../gone", "C:\\gone"])
def test_an_adapters_base_on_another_machine_is_not_told(place, hub, build, tmp_path):
    build(0, pals=True).save_pretrained(tmp_path / "pal")
    adapter = tmp_path / "pal" / "adapters" / "sst"
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": place}))
    with pytest.raises(ValueError, match="of no use without its base"):
        publish(adapter, "me/sst")
    publish(tmp_path / "pal", "me/pal")
    assert not [name for name, content in hub.files("me/pal").items() if b"gone" in content]


def test_an_adapter_fits_a_base_of_the_hub_that_it_was_trained_beside(hub, build, tmp_path):
    model, place = build(0, pals=True), tmp_path / "pal" / "adapters" / "sst" / "adapter_config.json"
    model.save_pretrained(tmp_path / "pal")
    place.write_text(json.dumps({**json.loads(place.read_text()), "base_model_name_or_path": "me/base"}))
    with pytest.raises(ValueError, match=r"was trained together with its base, so that it does not fit me/base\."):
        publish(tmp_path / "pal" / "adapters" / "sst", "me/sst")
    model.freeze_trunk()
    model.config.save_pretrained(tmp_path / "pal")
    with pytest.raises(ValueError, match="The adapter's base me/base is no model on the Hub"):
        publish(tmp_path / "pal" / "adapters" / "sst", "me/sst")
    build(0).push_to_hub("me/base")
    publish(tmp_path / "pal" / "adapters" / "sst", "me/sst")
    assert "me/base" in hub.files("me/sst")["README.md"].decode()


def test_what_was_published_and_is_saved_here_again_needs_no_code_beside_it(hub, build, tmp_path):
    build(0).push_to_hub("me/model")
    EnsembleModel.from_members(["me/model", build(1)]).push_to_hub("me/both")
    for repo in ("me/model", "me/both"):
        assert b"auto_map" in hub.files(repo)["config.json"]
        AutoModel.from_pretrained(repo).save_pretrained(tmp_path / repo)
        answer = pipeline("multitask", model=str(tmp_path / repo))
        assert set(answer("a film")) == {"sst"}


def test_a_model_over_an_ensemble_is_a_model(hub, build, tmp_path):
    EnsembleModel.from_members([build(0)]).save_pretrained(tmp_path / "both")
    build(1).save_pretrained(tmp_path / "both")
    publish(tmp_path / "both", "me/both")
    assert not [name for name in hub.files("me/both") if name.startswith("members/")]


def test_pals_of_a_member_on_the_hub_need_their_code_too(hub, build):
    build(0, pals=True).push_to_hub("me/pals")
    EnsembleModel.from_members(["me/pals"]).push_to_hub("me/both")
    assert "pal_layer.py" in hub.files("me/both")
    build(0).push_to_hub("me/plain")
    EnsembleModel.from_members(["me/plain"]).push_to_hub("me/other")
    assert "pal_layer.py" not in hub.files("me/other")


@pytest.mark.parametrize("step", ["lfs", "commit"])
def test_a_push_that_is_cut_leaves_the_last_whole_commit(step, hub, folder, build, tmp_path):
    publish(folder, "me/model")
    before = hub.repos["me/model"].at("main")
    build(5).save_pretrained(folder)
    hub.fail_at = step
    with pytest.raises(OSError, match=r"The Hub refuses \(400\): The \w+ was cut. The repo me/model is as it was"):
        publish(folder, "me/model")
    assert hub.repos["me/model"].at("main") == before
    hub.fail_at = None
    publish(folder, "me/model")
    assert hub.files()["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_what_is_published_holds_no_pickle_and_no_place_on_this_machine(hub, folder):
    publish(folder, "me/model")
    assert not [name for name in hub.files() if name.endswith((".bin", ".pt"))]
    assert {"curve.png", "report.json", "report.md", "recipe.yaml"} <= hub.files().keys()
    for name, content in hub.files().items():
        assert b"/home/" not in content, name
        assert str(folder.parent).encode() not in content, name
        assert b"hf_mine" not in content, name


@pytest.mark.parametrize(
    ("repo", "token", "complaint"),
    [
        ("me/model", None, "The Hub needs a token to write"),
        ("me/model", "hf_wrong", "The Hub does not know this token"),
        ("her/model", "hf_mine", "The token is that of me, who may not write to her/model"),
        ("me/../model", "hf_mine", "A repo is named user/name"),
        ("me/my/model", "hf_mine", "A repo is named user/name"),
        ("..", "hf_mine", "A repo is named user/name"),
    ],
)
def test_mistakes_are_one_sentence_without_a_token(repo, token, complaint, hub, folder, monkeypatch, caplog):
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    caplog.set_level("DEBUG")
    code, out, err = call(PUBLISH, "--model", folder, "--repo", repo)
    assert code == 1
    assert complaint in err
    assert err.count("\n") == 1
    assert "hf_" not in (out + err + caplog.text).replace("hf_multitask", "").replace("hf_hub", "").replace(
        "hf_api", ""
    )
    assert not hub.repos


def test_no_network_and_a_full_disk_are_one_sentence(hub, folder, build, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    code, _, err = call(PUBLISH, "--model", folder, "--repo", "me/model")
    assert code == 1
    assert "http://127.0.0.1:9 cannot be reached (ConnectError)" in err
    assert err.count("\n") == 1
    with room_for(1000), pytest.raises(OSError, match="The disk is full: no room for the model"):
        build(0).push_to_hub("me/model")


def test_a_full_disk_where_a_model_is_downloaded_to_is_one_sentence(hub, folder):
    publish(folder, "me/model")
    with room_for(20_000), pytest.raises(OSError, match="The disk is full: no room to download me/model"):
        MultitaskModel.from_pretrained("me/model")


def test_a_pickle_on_the_hub_is_not_even_fetched(hub, folder, tmp_path):
    publish(folder, "me/model")
    spoilt = {name: content for name, content in hub.files().items() if name != "model.safetensors"}
    hub.repos["me/model"].add({**spoilt, "pytorch_model.bin": b"evil"})
    with pytest.raises(ValueError, match="no file ends in"):
        MultitaskModel.from_pretrained("me/model")
    assert not list((tmp_path / "cache").rglob("*.bin"))


def test_saving_may_push_too(hub, build, tmp_path):
    model = build(0, pals=True)
    model.save_pretrained(tmp_path / "model", push_to_hub=True, repo_id="me/model")
    assert {"tokenizer.json", "adapters/sst/adapter_model.safetensors", "pal.py", "README.md"} <= hub.files().keys()
    EnsembleModel.from_members([model]).save_pretrained(tmp_path / "ensemble", push_to_hub=True)
    assert "members/0/tokenizer.json" in hub.files("me/ensemble")
    assert (tmp_path / "ensemble" / "config.json").is_file()


def test_the_trainer_publishes_what_the_model_does(hub, folder, build, rows, tmp_path):
    arguments = MultitaskTrainingArguments(str(folder), eval_strategy="no", load_best_model_at_end=False)
    trainer = MultitaskTrainer(build(0), arguments, train_dataset={"sst": rows["sst"]})
    assert "/me/model/commit/" in trainer.push_to_hub()
    pushed = hub.files()
    publish(folder, "me/published")
    assert pushed.keys() == hub.files("me/published").keys()
    for name in ("model.safetensors", "report.json", "recipe.yaml", "curve.png"):
        assert pushed[name] == hub.files("me/published")[name]
    with pytest.raises(ValueError, match="Leave blocking out"):
        trainer.push_to_hub(blocking=False)
    with pytest.raises(ValueError, match="Leave push_to_hub out; then"):
        MultitaskTrainingArguments(str(folder), push_to_hub=True)


def test_a_folder_that_holds_no_model_is_no_repo(hub, build, tmp_path):
    build(0, pals=True).save_pretrained(tmp_path / "model")
    for folder, base, complaint in (
        ("nowhere", None, "is no folder here"),
        (".", None, "holds neither a model"),
        ("model", "me/base", "needs no base"),
        ("model/adapters/sst", None, "of no use without its base"),
    ):
        with pytest.raises(ValueError, match=complaint):
            publish(tmp_path / folder, "me/model", base=base)
    assert not hub.repos
