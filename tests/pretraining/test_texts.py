import pytest
from datasets import Dataset

from hf_multitask.pretraining.texts import HubTexts, TaskTexts, TextFile, build_texts

TRAIN = {
    "sst": Dataset.from_dict({"first": ["a cat", "a dog"], "label": [0, 1]}),
    "sts": Dataset.from_dict({"first": ["a cat"], "second": ["two cats"], "label": [3.0]}),
}


def test_a_text_file_has_a_sentence_a_line(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\ufeffOne.\n\n  Two, \t\nOne.\nÜmläute!\n", encoding="utf-8")
    assert TextFile(path).sentences({}) == ["One.", "Two,", "Ümläute!"]


def test_the_tasks_give_both_sides_of_their_pairs():
    assert TaskTexts().sentences(TRAIN) == ["a cat", "a dog", "two cats"]
    assert TaskTexts(["sst"]).sentences(TRAIN) == ["a cat", "a dog"]
    with pytest.raises(ValueError, match="Unknown task 'stt'"):
        TaskTexts(["stt"]).tasks(list(TRAIN))


def test_a_dataset_gives_one_column(tmp_path):
    (tmp_path / "train.csv").write_text("sentence,n\nOne.,1\nTwo.,2\n,3\n")
    source = HubTexts(str(tmp_path), column="sentence")
    assert source.sentences({}) == ["One.", "Two."]
    with pytest.raises(ValueError, match="Unknown column 'text'"):
        HubTexts(str(tmp_path)).sentences({})


def test_a_limit_is_drawn_by_the_seed_and_keeps_the_order(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{i:03}\n" for i in range(100)))
    source = TextFile(path, limit=10)
    drawn = source.sentences({}, seed=1)
    assert drawn == sorted(drawn) == source.sentences({}, seed=1)
    assert len(set(drawn)) == 10
    assert drawn != source.sentences({}, seed=2)
    assert len(TextFile(path, limit=200).sentences({})) == 100


@pytest.mark.parametrize(("text", "count"), [("", 0), ("\n \n", 0), ("One.\nOne.\n", 1)])
def test_a_text_without_two_sentences_is_no_text(text, count, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"text.txt: there are {count} sentences, and a batch needs two or more"):
        TextFile(path).sentences({})


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(ValueError, match="there is no such file"):
        TextFile(tmp_path / "nowhere.txt").sentences({})
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match="line 1: this is not UTF-8"):
        TextFile(tmp_path / "latin.txt").sentences({})
    with pytest.raises(ValueError, match="limit must be 1 or more"):
        build_texts({"class": "TextFile", "text_file": "x", "limit": 0})
