import dataclasses
import math

import datasets
import pytest
import torch

from hf_multitask import CFIMDB, QQP, SST, STS, MultitaskConfig, MultitaskModel, Task
from hf_multitask.data.encoded import Collator, EncodedTask, StepDataset, encode_task, split_by_task
from hf_multitask.data.sampler import MultitaskSampler
from hf_multitask.schedules import RoundRobin


@pytest.fixture
def mixed(small, tokenizer):
    """A single sentence, a cross-encoded pair and a pair encoded apart."""
    tasks = (SST, QQP, dataclasses.replace(STS, head={"class": "Cosine"}))
    config = MultitaskConfig(trunk=small, tasks={t.name: t.describe() for t in tasks}, dropout=0.0, max_length=12)
    built = MultitaskModel(config).eval()
    built.tokenizer = tokenizer
    return built


@pytest.fixture
def encoded(mixed, rows):
    return {name: EncodedTask(encode_task(rows[name], name, mixed.config, mixed.tokenizer)) for name in rows}


def test_lengths_count_the_tokens_that_the_trunk_reads(encoded, rows, tokenizer):
    def count(*texts):
        return len(tokenizer(*texts, truncation=True, max_length=12)["input_ids"])

    sst, qqp, sts = rows["sst"][3], rows["qqp"][3], rows["sts"][3]
    assert encoded["sst"].lengths[3] == count(sst["first"])
    assert encoded["qqp"].lengths[3] == count(qqp["first"], qqp["second"])
    assert encoded["sts"].lengths[3] == count(sts["first"]) + count(sts["second"])
    assert max(encoded["qqp"].lengths) == 12


@pytest.mark.parametrize("form", ["numpy", "pandas", "arrow", "torch"])
def test_rows_may_have_a_format(form, mixed, encoded, rows):
    found = encode_task(rows["qqp"].with_format(form), "qqp", mixed.config, mixed.tokenizer)
    assert EncodedTask(found).lengths.tolist() == encoded["qqp"].lengths.tolist()


def test_a_collated_step_scores_like_predicting_from_text(mixed, encoded, rows):
    sampler = MultitaskSampler({n: t.lengths for n, t in encoded.items()}, RoundRobin(), batch_size=5)
    steps = StepDataset(encoded)
    shares = next(iter(sampler))
    batch = Collator()(steps.__getitems__(shares))
    output = mixed(**batch)
    for share in shares:
        chosen = rows[share.task].select(share.rows)
        second = chosen["second"] if "second" in chosen.column_names else None
        want = mixed.predict(share.task, chosen["first"], second).scores
        torch.testing.assert_close(output.scores[share.task], want)
        torch.testing.assert_close(batch["labels"][share.task], torch.tensor(chosen["label"]))


def test_a_step_splits_into_what_each_task_would_be_alone(encoded):
    sampler = MultitaskSampler({n: t.lengths for n, t in encoded.items()}, RoundRobin(), batch_size=5)
    shares = StepDataset(encoded).__getitems__(next(iter(sampler)))
    alone = {share.task: Collator()([(share, task)]) for share, task in shares}
    assert list(alone) == ["sst", "qqp", "sts"]
    torch.testing.assert_close(split_by_task(Collator()(shares)), alone, atol=0, rtol=0)


def test_encoded_ids_are_read_without_copies(encoded):
    values, _ = encoded["qqp"].columns["ids_0"]
    assert all(row.base is not None for row in encoded["qqp"].take("ids_0", [0, 5]))
    assert values.dtype == "int32"


def test_a_single_text_is_read_alone_whatever_else_the_rows_have(mixed, rows):
    more = rows["sst"].add_column("second", rows["sst"]["first"][:])
    plain, same = (encode_task(given, "sst", mixed.config, mixed.tokenizer) for given in (rows["sst"], more))
    assert plain["ids_0"][:] == same["ids_0"][:]


def labelled(*labels):
    return datasets.Dataset.from_dict({"first": ["a film"] * len(labels), "label": list(labels)})


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("qqp", labelled(0, 1), "task 'qqp' needs second. Its columns are first, label"),
        ("sst", labelled(0, -100), "task 'sst': label -100 is not one of the ids 0 to 4"),
        ("sst", labelled(0.0, 3.7), "label 3.7 is not one of the ids"),
        ("sst", labelled("good", "bad"), "label 'bad' is not one of the ids"),
        ("sst", labelled(1, None), "task 'sst' has rows without a label"),
        ("cfimdb", labelled(0, -1), "label -1 is not one of the ids 0 to 1"),
        ("mark", labelled(0.5, math.inf), "label inf is outside 0 to 5"),
        ("mark", labelled([0.5, 0.5], [1.0, 0.0]), r"task 'mark': label '\[0.5, 0.5\]' is outside 0 to 5"),
        ("sst", labelled([0.5, 0.5]), r"label '\[0.5, 0.5\]' is not 5 probabilities with a sum of 1"),
        ("sst", labelled([0.5] * 5), "is not 5 probabilities with a sum of 1"),
        ("sst", labelled([math.nan] * 5), "is not 5 probabilities with a sum of 1"),
        ("cfimdb", labelled([0.5, 0.5]), r"label '\[0.5, 0.5\]' is not one of the ids"),
        ("sst", datasets.Dataset.from_dict({"first": ["a", None], "label": [0, 1]}), "no text in first of row 1"),
        ("sst", datasets.Dataset.from_dict({"first": [3], "label": [0]}), "no texts in first, but int64"),
    ],
)
def test_rows_that_cannot_be_learnt_are_refused(small, tokenizer, task, given, message):
    mark = Task("mark", STS.objective, metric="pearson")
    config = MultitaskConfig(trunk=small, tasks={t.name: t.describe() for t in (SST, QQP, CFIMDB, mark)})
    with pytest.raises(ValueError, match=message):
        encode_task(given, task, config, tokenizer)


def test_what_a_teacher_says_can_be_learnt(small, tokenizer):
    """Probabilities of each class or of the second, and numbers beyond the range."""
    mark = Task("mark", STS.objective, metric="pearson")
    config = MultitaskConfig(trunk=small, tasks={t.name: t.describe() for t in (SST, CFIMDB, mark)})
    said = {"sst": labelled([0.2] * 5), "cfimdb": labelled(0.0, 0.3), "mark": labelled(-0.2, 5.1)}
    for name, given in said.items():
        assert len(encode_task(given, name, config, tokenizer)) == len(given)
