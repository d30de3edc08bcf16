import contextlib
import os
import random
import re
import signal
import subprocess
import time

import pytest
from training_runs import SignalAt, assert_identical, build, command, end_of, ends, start

from hf_multitask.training.checkpoints import newest_whole
from hf_multitask.training.interruptions import EVERY, Interrupted

SPEC = {"schedule": {"class": "Annealed"}, "dropout": 0.1, "max_steps": 13, "eval_strategy": "steps", "eval_steps": 4}
KILLS = 4
SPEC |= {"save_strategy": "steps", "save_steps": 4}


def test_told_to_stop_it_saves_and_goes_on_from_there_later(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    trainer = build(tmp_path / "cut", **SPEC)
    trainer.add_callback(SignalAt(signal.SIGTERM, 5))
    with pytest.raises(Interrupted, match=r"Told to stop, after step 6. `--resume auto` goes on from .*checkpoint-6"):
        trainer.train()
    assert signal.getsignal(signal.SIGTERM) is before
    assert newest_whole(tmp_path / "cut").name == "checkpoint-6"
    again = end_of(build(tmp_path / "cut", **SPEC), resume=True)
    assert_identical(end_of(build(tmp_path / "whole", **SPEC)), again)


EPOCHS = {"save_strategy": "epoch", "eval_strategy": "epoch", "num_train_epochs": 2, "max_steps": -1}
"""RoundRobin has 7 steps an epoch."""
STOPS = {
    "within an epoch": ({**EPOCHS, "schedule": {"class": "RoundRobin"}}, 9),
    "at an epoch's end": ({**EPOCHS, "schedule": {"class": "RoundRobin"}}, 6),
    "when the best alone is kept": ({"save_total_limit": 1, "save_steps": 2, "eval_steps": 2}, 8),
    "where it would be evaluated": ({"eval_steps": 2, "save_steps": 2}, 5),
}


@pytest.mark.parametrize(("changes", "step"), STOPS.values(), ids=STOPS)
def test_stopping_changes_nothing_but_the_time(changes, step, tmp_path):
    spec = {**SPEC, **changes}
    trainer = build(tmp_path / "cut", **spec)
    trainer.add_callback(SignalAt(signal.SIGTERM, step))
    with pytest.raises(Interrupted, match=f"after step {step + 1}. `--resume auto` goes on from"):
        trainer.train()
    assert newest_whole(tmp_path / "cut").name == f"checkpoint-{step + 1}"
    whole, again = end_of(build(tmp_path / "whole", **spec)), end_of(build(tmp_path / "cut", **spec), resume=True)
    assert_identical(whole, again)
    evaluated = [[(e["step"], e["eval_score"]) for e in end["history"] if "eval_score" in e] for end in (whole, again)]
    assert evaluated[0] == evaluated[1]


def test_told_in_its_last_step_it_ends_as_always(tmp_path):
    trainer = build(tmp_path, **SPEC)
    trainer.add_callback(SignalAt(signal.SIGTERM, SPEC["max_steps"] - 1))
    trainer.train()
    assert trainer.state.global_step == SPEC["max_steps"]


def test_the_signal_is_given_back_when_training_fails(tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    trainer = build(tmp_path, **SPEC)
    monkeypatch.setattr(trainer, "compute_loss", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.distributed)])
def test_killed_at_random_while_it_writes_it_ends_where_the_uninterrupted_run_ends(processes, tmp_path):
    """Again and again, each time within a twentieth of a second after the next checkpoint is begun."""
    spec = {**SPEC, "save_steps": 1, "eval_steps": 1, "max_steps": 20, "per_device_train_batch_size": 8 // processes}
    cut = {**spec, "output_dir": str(tmp_path / "cut"), "resume": "auto"}
    draw = random.Random(processes)
    words, environment = command(tmp_path, cut, processes=processes)
    for _ in range(KILLS):
        before = latest(tmp_path / "cut")
        group = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
        while latest(tmp_path / "cut") == before:
            if group.poll() is not None:
                break
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.05))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group.pid, signal.SIGKILL)
        group.wait()
    (again,) = ends(tmp_path, cut, processes=processes)
    (whole,) = ends(tmp_path, {**spec, "output_dir": str(tmp_path / "whole")}, processes=processes)
    assert_identical(whole, again)


def latest(folder):
    """The newest checkpoint, whole or not."""
    return max((int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*")), default=0)


@pytest.mark.distributed
def test_told_one_of_two_processes_both_stop_after_the_same_step(tmp_path):
    spec = {**SPEC, "per_device_train_batch_size": 4}
    whole, cut = ({**spec, "output_dir": str(tmp_path / name)} for name in ("whole", "cut"))
    done = start(tmp_path, {**cut, "terminate_at": 5}, processes=2)
    assert done.returncode == 1
    assert f"Told to stop, after step {EVERY}." in done.stderr
    assert newest_whole(tmp_path / "cut").name == f"checkpoint-{EVERY}"
    assert_identical(*ends(tmp_path, whole, {**cut, "resume": True}, processes=2))


@pytest.mark.distributed
def test_a_process_that_is_killed_ends_the_other(tmp_path):
    """The other waits for it in vain; the launcher must not."""
    spec = {**SPEC, "per_device_train_batch_size": 4, "output_dir": str(tmp_path / "cut"), "kill_at": 6}
    done = start(tmp_path, spec, processes=2)
    assert done.returncode == 1
    assert "SIGKILL" in done.stderr
    assert newest_whole(tmp_path / "cut").name == "checkpoint-4"


# A limit on the size of files ends writing as a full disk does: at the weights or, with more room, at the optimizer.
@pytest.mark.parametrize("room", [1_000, 60_000])
def test_a_checkpoint_that_cannot_be_written_ends_the_run_and_keeps_the_last(room, tmp_path):
    spec = {**SPEC, "output_dir": str(tmp_path / "cut")}
    done = start(tmp_path, {**spec, "room_at": 7, "room": room})
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert re.search(r"checkpoint-8 could not be written: .*newest whole checkpoint is .*checkpoint-4\.", said)
    assert newest_whole(tmp_path / "cut").name == "checkpoint-4"
    assert_identical(end_of(build(tmp_path / "whole", **SPEC)), end_of(build(**spec), resume=True))
