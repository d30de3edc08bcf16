import dataclasses

import datasets
import pytest

from hf_multitask import QQP, MultitaskConfig
from hf_multitask.data import cache, encoded
from hf_multitask.data.encoded import encode_task


@pytest.fixture
def config(small):
    return MultitaskConfig(trunk=small, tasks={"qqp": QQP.describe()}, max_length=12)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(cache, "LEAST", 10)
    return tmp_path / "hf_multitask"


def forbid(*args, **kwargs):
    raise AssertionError("Encoded again.")


def test_the_same_rows_are_encoded_once(folder, rows, config, tokenizer, monkeypatch):
    first = encode_task(rows["qqp"], "qqp", config, tokenizer)
    monkeypatch.setattr(encoded, "encode", forbid)
    # Equal rows that lie elsewhere in memory, behind others and behind an index.
    twice = datasets.concatenate_datasets([rows["qqp"], rows["qqp"]]).skip(53)
    for again in (rows["qqp"], twice, twice.select(range(53))):
        assert encode_task(again, "qqp", config, tokenizer)[:] == first[:]
    assert len(list(folder.iterdir())) == 1


def changed(rows, config, tokenizer, what):
    if what == "text":
        return (
            rows.map(lambda row, i: {"second": "rug" if i == 52 else row["second"]}, with_indices=True),
            config,
            tokenizer,
        )
    if what == "label":
        return (
            rows.map(lambda row, i: {"label": 1 - row["label"] if i == 0 else row["label"]}, with_indices=True),
            config,
            tokenizer,
        )
    if what == "order":
        return rows.select([1, 0, *range(2, 53)]), config, tokenizer
    if what == "length":
        return rows, MultitaskConfig(trunk=config.trunk, tasks=config.tasks, max_length=11), tokenizer
    if what == "apart":
        task = dataclasses.replace(QQP, head={"class": "Cosine"})
        return rows, MultitaskConfig(trunk=config.trunk, tasks={"qqp": task.describe()}, max_length=12), tokenizer
    if what == "pair":
        task = dataclasses.replace(QQP, pair=False)
        return rows, MultitaskConfig(trunk=config.trunk, tasks={"qqp": task.describe()}, max_length=12), tokenizer
    other = type(tokenizer)(
        vocab={word: i for i, word in enumerate(reversed(tokenizer.get_vocab()))}, model_max_length=64
    )
    return rows, config, other


@pytest.mark.parametrize("what", ["text", "label", "order", "length", "apart", "pair", "tokenizer"])
def test_what_has_changed_is_encoded_anew(folder, rows, config, tokenizer, what):
    encode_task(rows["qqp"], "qqp", config, tokenizer)
    given = changed(rows["qqp"], config, tokenizer, what)
    found = encode_task(given[0], "qqp", *given[1:])
    assert len(list(folder.iterdir())) == 2
    datasets.disable_caching()
    try:
        assert encode_task(given[0], "qqp", *given[1:])[:] == found[:]
    finally:
        datasets.enable_caching()


def test_the_name_of_a_task_may_be_long(folder, rows, small, tokenizer):
    name = "paraphrase_detection_of_quora_question_pairs"
    config = MultitaskConfig(trunk=small, tasks={name: QQP.describe()}, max_length=12)
    assert len(encode_task(rows["qqp"], name, config, tokenizer)) == len(rows["qqp"])
    assert len(list(folder.iterdir())) == 1


def test_without_a_place_nothing_is_kept(rows, config, tokenizer, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file")
    monkeypatch.setattr(cache, "LEAST", 10)
    assert len(encode_task(rows["qqp"], "qqp", config, tokenizer)) == len(rows["qqp"])


def test_few_rows_and_those_of_a_user_who_wants_none_are_not_kept(folder, rows, config, tokenizer, monkeypatch):
    encode_task(rows["qqp"].take(9), "qqp", config, tokenizer)
    datasets.disable_caching()
    try:
        encode_task(rows["qqp"], "qqp", config, tokenizer)
    finally:
        datasets.enable_caching()
    assert not folder.exists()
