import numpy as np
import pytest
import torch
from training_runs import assert_identical, assert_near, build, end_of, ends, start

from hf_multitask import SST
from hf_multitask.data.encoded import encode_block, encode_task
from hf_multitask.data.rows import DataError, Place, Row
from hf_multitask.data.streams import RowStream, StreamedTask

SPEC = {"schedule": {"class": "Cycle"}, "max_steps": 30, "save_strategy": "steps", "save_steps": 7, "dropout": 0.1}
SPEC |= {"eval_strategy": "no", "load_best_model_at_end": False, "streamed": ["qqp", "sts"]}


class Lines:
    """A source of so many rows; each third line is bad."""

    def __init__(self, count, bad=False):
        self.count, self.bad = count, bad

    def splits(self, task):
        return ("train",)

    def rows(self, task, split):
        for line in range(self.count):
            yield Row(Place("file", line), line, "" if self.bad and line % 3 == 2 else f"film {line}", None, line % 5)


@pytest.mark.parametrize("size", [1, 4, 7, 50])
@pytest.mark.parametrize("skip", [0, 3, 8, 19])
@pytest.mark.parametrize("bad", [False, True])
def test_blocks_hold_every_good_row_once_from_wherever_they_begin(size, skip, bad):
    stream = RowStream(SST, "train", Lines(20, bad), "drop")
    want = [str(line) for line in range(20) if not (bad and line % 3 == 2)]
    blocks = [block["id"][:] for block in stream.blocks(max(size, 3), skip=skip)]
    assert [name for block in blocks for name in block] == want[skip:]
    assert all(len(block) == max(size, 3) for block in blocks[:-1])


def test_a_block_without_a_good_row_is_passed_over():
    class Bad(Lines):
        def rows(self, task, split):
            for row in super().rows(task, split):
                yield row._replace(first="") if 4 <= row.id < 12 else row

    blocks = list(RowStream(SST, "train", Bad(20), "drop").blocks(4, skip=0))
    assert [name for block in blocks for name in block["id"]] == [str(n) for n in range(20) if not 4 <= n < 12]


def test_bad_rows_are_raised_with_their_place():
    with pytest.raises(DataError, match="line 2: the text is missing"):
        list(RowStream(SST, "train", Lines(20, bad=True)).blocks(4, skip=0))


@pytest.fixture
def streamed(model):
    """A task of 50 rows in a stream of 60, a step of 4 of them, a block of 12."""

    def encode(rows):
        return encode_block(rows, "sst", model.config, model.tokenizer)

    return StreamedTask(RowStream(SST, "train", Lines(60)), encode, rows=50, step_rows=4, seed=1, window=3)


def step(number):
    first, place = divmod(number, 13)
    return first * 50 + np.arange(place * 4, min(place * 4 + 4, 50))


def labels(task, rows):
    block, numbers = task.at(rows)
    return list(zip(numbers.tolist(), block.labels[numbers].tolist(), strict=True))


def test_a_pass_reads_every_row_once_and_each_pass_in_another_order(streamed):
    passes = [[labels(streamed, step(number)) for number in range(13 * n, 13 * n + 13)] for n in range(2)]
    for read in passes:
        rows = [4 * 3 * (number // 3) + row for number, found in enumerate(read) for row, _ in found]
        assert sorted(rows) == list(range(50))
        assert all(label == (12 * (number // 3) + row) % 5 for number, found in enumerate(read) for row, label in found)
    assert passes[0] != passes[1]


@pytest.mark.parametrize("first", [1, 5, 12, 17])
def test_begun_later_it_reads_what_it_would_have_read(streamed, first):
    again = StreamedTask(streamed.stream, streamed.encode, rows=50, step_rows=4, seed=1, window=3)
    whole = [labels(streamed, step(number)) for number in range(20)]
    assert [labels(again, step(number)) for number in range(first, 20)] == whole[first:]


def test_an_idle_row_does_not_turn_the_stream_back(streamed):
    labels(streamed, step(5))
    place = streamed.place
    block, rows = streamed.at(np.zeros(1, int), idle=True)
    assert len(rows) == 1
    assert rows[0] < len(block)
    assert streamed.place == place


def test_a_stream_that_ends_early_says_so(streamed):
    short = StreamedTask(RowStream(SST, "train", Lines(30)), streamed.encode, rows=50, step_rows=4, seed=1, window=3)
    with pytest.raises(ValueError, match=r"ended after 30 rows, and a pass was said to have 50\. Say 30 or fewer"):
        short.at(step(7))


def test_a_block_is_encoded_like_the_whole(model, rows):
    for name, data in rows.items():
        whole, block = (encode(data, name, model.config, model.tokenizer) for encode in (encode_task, encode_block))
        assert whole.features == block.features
        assert whole.to_dict() == block.to_dict()


def test_streams_train_and_resume_bit_for_bit(tmp_path):
    whole = end_of(build(tmp_path / "whole", **SPEC))
    cut = {**SPEC, "output_dir": str(tmp_path / "cut")}
    assert start(tmp_path, {**cut, "kill_at": 24}).returncode != 0
    assert_identical(whole, end_of(build(**cut), resume=True))
    assert {"loss_qqp", "loss_sts"} <= {key for entry in whole["history"] for key in entry}


@pytest.mark.distributed
def test_two_processes_read_a_stream_like_one(tmp_path):
    spec = {**SPEC, "dropout": 0.0, "save_strategy": "no"}
    (two,) = ends(
        tmp_path, {**spec, "per_device_train_batch_size": 4, "output_dir": str(tmp_path / "two")}, processes=2
    )
    assert_near(end_of(build(tmp_path / "one", **spec)), two)


def test_a_stream_needs_the_length_of_its_pass(tmp_path):
    with pytest.raises(ValueError, match=r"'qqp' are a stream\. Say in stream_rows how many"):
        build(tmp_path, **SPEC, stream_rows={"sts": 5})


def test_rows_of_a_stream_are_those_of_the_dataset(tmp_path):
    """What a pass reads is the same, in whatever order: the sums over labels agree."""
    plain, streamed = (build(tmp_path, **{**SPEC, "streamed": s, "max_steps": 21}) for s in ((), ("qqp",)))
    sums = []
    for trainer in (plain, streamed):
        batches = [batch for batch in trainer.get_train_dataloader() if "qqp" in batch["rows"]]
        sums.append(sorted(torch.cat([batch["labels"]["qqp"] for batch in batches[:7]]).tolist()))
    assert sums[0] == sums[1]
