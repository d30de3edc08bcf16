import dataclasses

import pytest
import torch

from hf_multitask import QQP, SST, STS, MultitaskConfig, MultitaskModel
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
