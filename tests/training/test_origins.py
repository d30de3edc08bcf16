import re
from pathlib import Path

import numpy as np
import pytest
from training_runs import assert_near, build, end_of, ends

from hf_multitask.training.checkpoints import newest_whole
from hf_multitask.training.origins import plain

PAL = {"class": "Pal", "width": 12, "heads": 3}
SPEC = {"schedule": {"class": "Cycle"}, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
SPEC |= {"eval_strategy": "no", "load_best_model_at_end": False, "save_total_limit": None}


def left(folder, **options):
    """A checkpoint of a run."""
    build(folder, **{**SPEC, **options}).train()
    return str(folder / "checkpoint-2")


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        ({}, {"tasks": ["sst", "qqp"]}, "Its tasks are qqp, sst, sts, and here they are qqp, sst."),
        ({}, {"heads": {"qqp": "MLP"}}, 'The head of qqp is {"class": "Linear"} there, and {"class": "MLP"} here.'),
        ({}, {"frozen": True}, "freeze_trunk is False there, and True here."),
        ({}, {"layers": 1}, "num_hidden_layers of its trunk is 2, and 1 here."),
        ({}, {"tuner": PAL}, "The model that left it had no adapters, and this one has some."),
        ({"tuner": PAL}, {}, "The model that left it had adapters, and this one has none."),
        ({"tuner": PAL}, {"tuner": {**PAL, "width": 9}}, "width of its adapters is 12, and 9 here."),
        ({}, {"truncation_side": "left"}, "Its tokenizer is another: that of a new trunk is made of the training rows"),
    ],
)
def test_what_cannot_go_on_is_refused_with_the_difference(then, now, said, tmp_path):
    checkpoint = left(tmp_path / "then", **then)
    with pytest.raises(ValueError, match=r"cannot go on from .*checkpoint-2\. " + re.escape(said)):
        build(tmp_path / "now", **{**SPEC, **now}).train(resume_from_checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (
            {"schedule": {"class": "RoundRobin"}},
            'was {"class": "Cycle", "repeat": true}, and {"class": "RoundRobin"} now.',
        ),
        ({"per_device_train_batch_size": 4}, "The rows of a task in a step were 8, and 4 now."),
        ({"limit": 10}, "The training rows were "),
        ({"data_seed": 5}, "The seed of their order was 42, and 5 now."),
    ],
)
def test_what_can_go_on_does_and_the_difference_is_said(now, said, tmp_path, caplog):
    checkpoint = left(tmp_path / "then")
    trainer = build(tmp_path / "now", **{**SPEC, **now})
    trainer.train(resume_from_checkpoint=checkpoint)
    assert trainer.state.global_step == 4
    (message,) = [record.message for record in caplog.records if "goes on from the same weights" in record.message]
    assert said in message


def test_the_same_run_has_nothing_to_say(tmp_path, caplog):
    checkpoint = left(tmp_path / "then", tuner=PAL)
    build(tmp_path / "now", **SPEC, tuner=PAL).train(resume_from_checkpoint=checkpoint)
    assert "goes on" not in caplog.text


def test_a_checkpoint_that_leaves_longer_steps_nothing_to_do_is_refused(tmp_path):
    spec = {**SPEC, "tasks": ["sst"], "limit": 16, "max_steps": -1, "save_steps": 1, "num_train_epochs": 2}
    build(tmp_path / "then", **spec, per_device_train_batch_size=4).train()
    longer = build(tmp_path / "now", **spec, per_device_train_batch_size=8)
    with pytest.raises(ValueError, match="done 4 steps, 1 of 2 epochs, which in steps of as many rows as now are 4"):
        longer.train(resume_from_checkpoint=str(tmp_path / "then" / "checkpoint-4"))
    # One that was trained to its end has nothing to do either, and that is no fault.
    same = build(tmp_path / "then", **spec, per_device_train_batch_size=4)
    assert same.train(resume_from_checkpoint=True).global_step == 8


def test_a_schedule_may_hold_anything():
    class Own:
        def __init__(self):
            self.p, self.place = np.array([0.5, 0.5]), Path("somewhere")

    assert plain({"schedule": Own()})["schedule"]["class"] == "Own"


@pytest.mark.distributed
def test_epochs_are_counted_in_the_steps_of_now(tmp_path):
    """Steps of 8 rows ended in the third epoch; their number is in the first one of steps of 2."""
    spec = {**SPEC, "schedule": {"class": "RoundRobin"}, "tasks": ["sst"], "limit": 16, "save_steps": 6}
    build(tmp_path / "then", **{**spec, "max_steps": 6}).train()
    spec |= {"max_steps": 12, "resume": str(tmp_path / "then" / "checkpoint-6")}
    (one,) = ends(tmp_path, {**spec, "output_dir": str(tmp_path / "one"), "per_device_train_batch_size": 2})
    at_two = {**spec, "output_dir": str(tmp_path / "two"), "per_device_train_batch_size": 1}
    (two,) = ends(tmp_path, at_two, processes=2)
    assert max(line["step"] for line in two["history"]) == 12
    assert_near(one, two)


@pytest.mark.distributed
def test_two_processes_go_on_where_one_stopped_and_the_other_way_round(tmp_path):
    one, two = ({**SPEC, "per_device_train_batch_size": n} for n in (8, 4))
    whole = end_of(build(tmp_path / "one", **one))
    at_two = {**two, "output_dir": str(tmp_path / "two"), "resume": str(tmp_path / "one" / "checkpoint-2")}
    (resumed,) = ends(tmp_path, at_two, processes=2)
    back = end_of(build(tmp_path / "back", **one), resume=str(newest_whole(tmp_path / "two")))
    for end in (resumed, back):
        for name, weight in whole["weights"].items():
            assert weight.sub(end["weights"][name]).abs().max() < 1e-5, name
