"""The vocabulary made on the spot: a BERT tokenizer that is the same in every process."""

import pytest
from transformers import AutoTokenizer, BertTokenizerFast

from hf_multitask import TASKS
from hf_multitask.data.demo import Demo
from hf_multitask.data.vocabulary import train_tokenizer

TEXTS = [
    text for name in ("sst", "qqp", "sts") for row in Demo(400).rows(TASKS[name], "train") for text in row[2:4] if text
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, max_length=32)


def test_it_is_a_bert_tokenizer(tokenizer):
    assert isinstance(tokenizer, BertTokenizerFast)
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]
    assert tokenizer.model_max_length == 32
    pair = tokenizer("The plot was dull.", "The VIEW was nice.")
    assert tokenizer.convert_ids_to_tokens(pair["input_ids"])[:3] == ["[CLS]", "the", "plot"]
    assert pair["token_type_ids"] == [0] * 7 + [1] * 6


def test_ids_are_dense_and_unique(tokenizer):
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def test_nothing_of_the_corpus_is_unknown(tokenizer):
    assert all(tokenizer.unk_token_id not in ids for ids in tokenizer(TEXTS)["input_ids"])
    held_out = [row.first for row in Demo(400).rows(TASKS["qqp"], "test")]
    assert all(tokenizer.unk_token_id not in ids for ids in tokenizer(held_out)["input_ids"])


def test_a_frequent_word_is_one_piece_and_a_new_one_is_spelt(tokenizer):
    assert tokenizer.tokenize("although") == ["although"]
    spelt = tokenizer.tokenize("althoughness")
    assert spelt[0] == "although"
    assert "".join(piece.removeprefix("##") for piece in spelt) == "althoughness"


def test_size_bounds_the_pieces_and_keeps_the_characters():
    small = train_tokenizer(TEXTS, size=120)
    assert len(small) <= 120
    assert all(small.unk_token_id not in ids for ids in small(TEXTS)["input_ids"])


def test_saving_and_loading_keeps_it(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.model_max_length == 32
    assert loaded(TEXTS[:20], TEXTS[20:40])["token_type_ids"] == tokenizer(TEXTS[:20], TEXTS[20:40])["token_type_ids"]
    assert loaded(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]


def test_ties_fall_alike_in_every_process():
    pieces = train_tokenizer(["dab cab", "bad add cad", "abba"], size=30).get_vocab()
    characters = "a b c d ##a ##b ##c ##d"
    merged = "##ab ##ad ##ba ##bad ##dab ab ad bad dab cab cad abba"
    assert sorted(pieces, key=pieces.get)[5:] == [*characters.split(), *merged.split()]
