"""What may be read of a model's folder, and what may not."""

import json
from pathlib import PurePath

import pytest
import torch
from transformers import AutoModel, BertJapaneseTokenizer

from hf_multitask import EnsembleModel, PalConfig
from hf_multitask.models.members import READ, fingerprint, spelled
from hf_multitask.publishing.manifest import contents


@pytest.fixture
def adapted(model):
    model.add_adapters(PalConfig(width=4, heads=2))
    return model


def pickled(folder):
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def pickled_adapter(folder):
    torch.save({}, folder / "adapters" / "sst" / "adapter_model.bin")
    (folder / "adapters" / "sst" / "adapter_model.safetensors").rename(folder / "adapters" / "sst" / "x.safetensors")


def renamed(folder, **fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def linked(folder):
    (folder / "adapters" / "sst" / "adapter_model.safetensors").unlink()
    (folder / "adapters" / "sst" / "adapter_model.safetensors").symlink_to("/etc/hostname")


def strange_adapter(folder):
    (folder / "adapters" / "sst" / "adapter_config.json").write_text('{"peft_type": "EVIL"}')


def strange_task(folder):
    tasks = json.loads((folder / "config.json").read_text())["tasks"]
    renamed(folder, tasks={"../../evil": tasks["sst"]})


def strange_head(folder):
    tasks = json.loads((folder / "config.json").read_text())["tasks"]
    renamed(folder, tasks={"sst": {**tasks["sst"], "head": {"class": "Evil"}}})


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (pickled, "a pickle, which is not read"),
        (pickled_adapter, "a pickle, which is not read"),
        (linked, "leads out of"),
        (strange_adapter, "Unknown kind 'EVIL'"),
        (strange_task, "A task's name is made of letters"),
        (strange_head, "Unknown head 'Evil'"),
        (lambda folder: renamed(folder, trunk={"model_type": "evil"}), "Unknown trunk type 'evil'"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_the_reason(spoil, complaint, adapted, tmp_path):
    adapted.save_pretrained(tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(ValueError, match=complaint):
        AutoModel.from_pretrained(tmp_path / "model")


def test_a_member_outside_the_ensemble_is_refused(adapted, tmp_path):
    EnsembleModel.from_members([adapted]).save_pretrained(tmp_path / "ensemble")
    config = json.loads((tmp_path / "ensemble" / "config.json").read_text())
    renamed(tmp_path / "ensemble", members=[{**config["members"][0], "folder": "../elsewhere"}])
    with pytest.raises(ValueError, match="leads out of its folder"):
        AutoModel.from_pretrained(tmp_path / "ensemble")


def test_tokenizers_written_in_python_are_known_again(tmp_path):
    """They have no backend to ask, and are what their words and their making say."""

    def made(*words, **options):
        (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
        kinds = {"word_tokenizer_type": "basic", "subword_tokenizer_type": "wordpiece"}
        return BertJapaneseTokenizer(str(tmp_path / "vocab.txt"), **kinds, **options)

    one = made("a", "film")
    one.save_pretrained(tmp_path / "kept")
    assert spelled(BertJapaneseTokenizer.from_pretrained(tmp_path / "kept")) == spelled(one)
    others = [made("a", "rug"), made("a", "film", do_lower_case=True)]
    assert len({spelled(tokenizer) for tokenizer in (one, *others)}) == 3


def test_a_tokenizer_of_words_and_rules_is_part_of_what_a_model_is(model, tmp_path):
    """It has no tokenizer.json: its files are fetched, published, and tell whether it is the same."""
    lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film"]
    (tmp_path / "vocab.txt").write_text("\n".join(lines))
    kinds = {"word_tokenizer_type": "basic", "subword_tokenizer_type": "wordpiece"}
    model.tokenizer = BertJapaneseTokenizer(str(tmp_path / "vocab.txt"), **kinds)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "bpe.codes").write_text("a b 1")
    before = fingerprint(tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"vocab.txt", "bpe.codes"} <= names & contents(tmp_path / "model", "me/model").keys()
    assert all(any(PurePath(name).match(pattern) for pattern in READ) for name in names)
    for name, text in (("vocab.txt", "\n".join([*lines[:5], "film", "a"])), ("bpe.codes", "b a 1")):
        (tmp_path / "model" / name).write_text(text)
        assert fingerprint(tmp_path / "model") != before
        before = fingerprint(tmp_path / "model")
