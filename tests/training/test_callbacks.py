import signal
import time

import pytest
from training_runs import SignalAt, assert_identical, build, end_of, start

from hf_multitask.training.callbacks import HalveOnRisingLoss, Pace, rises_at_the_end, totals
from hf_multitask.training.interruptions import Interrupted

QUIET = {"schedule": {"class": "RoundRobin"}, "eval_strategy": "no", "load_best_model_at_end": False}


def test_an_epochs_total_counts_every_step_once():
    history = [
        {"loss": 2.0, "epoch": 0.5, "step": 2},
        {"eval_loss": 9.0, "epoch": 0.5, "step": 2},
        {"loss": 3.0, "epoch": 1.0, "step": 4},
        {"loss": 1.0, "epoch": 1.25, "step": 5},
        {"loss": 2.0, "epoch": 2.0, "step": 8},
        {"train_loss": 7.0, "epoch": 2.0, "step": 8},
    ]
    assert totals(history) == [10.0, 7.0]


@pytest.mark.parametrize(
    ("numbers", "rises"),
    [([], 0), ([1], 0), ([1, 2], 1), ([2, 1], 0), ([1, 1], 0), ([3, 1, 2, 3, 4], 3), ([1, 3, 2], 0)],
)
def test_rises_are_counted_from_the_end(numbers, rises):
    assert rises_at_the_end(numbers) == rises


class Losses:
    """Makes the loss of each epoch what it is told to be."""

    def __init__(self, trainer, sizes):
        self.trainer, self.sizes = trainer, sizes
        trainer.model.register_forward_hook(self)

    def __call__(self, model, args, output):
        if output.losses:
            size = self.sizes[int(self.trainer.state.epoch)]
            for name, loss in output.losses.items():
                output.losses[name] = loss - loss.detach() + size
        return output


@pytest.mark.parametrize("logging_steps", [1, 3, 100])
@pytest.mark.parametrize("kind", ["constant", "linear"])
def test_the_rate_halves_after_every_third_rise_in_a_row(kind, logging_steps, tmp_path):
    sizes = [5, 4, 5, 6, 7, 8, 9, 10, 3, 4, 5, 4, 5]
    trainer = build(
        tmp_path,
        **QUIET,
        save_strategy="no",
        num_train_epochs=len(sizes),
        lr_scheduler_type=kind,
        logging_steps=logging_steps,
        halve_on_rising_loss=3,
    )
    Losses(trainer, sizes)
    rates = []
    trainer.optimizer_step = trainer.model.register_forward_pre_hook(
        lambda *_: trainer.optimizer and rates.append(trainer.optimizer.param_groups[0]["lr"])
    )
    trainer.train()
    steps = trainer.state.max_steps // len(sizes)
    for step, rate in enumerate(rates):
        plain = 1e-3 * (1 - step / trainer.state.max_steps if kind == "linear" else 1)
        halvings = (step // steps >= 5) + (step // steps >= 8)
        assert rate == pytest.approx(plain / 2**halvings), step


@pytest.mark.parametrize("kill_at", [9, 13, 17])
def test_killed_and_resumed_it_halves_where_the_uninterrupted_run_halves(kill_at, tmp_path):
    spec = {**QUIET, "save_strategy": "steps", "save_steps": 4, "num_train_epochs": 5, "logging_steps": 3}
    # So much that the loss rises.
    spec |= {"halve_on_rising_loss": 1, "learning_rate": 0.3, "dropout": 0.1, "lr_scheduler_type": "constant"}
    cut = {**spec, "output_dir": str(tmp_path / "cut")}
    assert start(tmp_path, {**cut, "kill_at": kill_at}).returncode == -signal.SIGKILL
    whole = end_of(build(tmp_path / "whole", **spec))
    assert whole["schedule"]["base_lrs"][0] < 0.3
    assert_identical(whole, end_of(build(**cut), resume=True))


@pytest.mark.parametrize("step", [11, 13])
def test_told_to_stop_and_resumed_it_halves_where_the_uninterrupted_run_halves(step, tmp_path):
    """Logged seldom: what the steps since the last log lost must not be forgotten. RoundRobin has 7 steps an epoch."""
    spec = {**QUIET, "save_strategy": "steps", "save_steps": 50, "num_train_epochs": 5, "logging_steps": 50}
    spec |= {"halve_on_rising_loss": 1, "learning_rate": 0.3, "dropout": 0.1, "lr_scheduler_type": "constant"}
    cut = build(tmp_path / "cut", **spec)
    cut.add_callback(SignalAt(signal.SIGTERM, step))
    with pytest.raises(Interrupted, match=f"after step {step + 1}"):
        cut.train()
    whole = end_of(build(tmp_path / "whole", **spec))
    assert whole["schedule"]["base_lrs"][0] < 0.3
    again = end_of(build(tmp_path / "cut", **spec), resume=True)
    assert_identical(whole, again)
    assert totals(again["history"]) == pytest.approx(totals(whole["history"]), rel=1e-6)


def test_schedules_that_decide_otherwise_are_refused(tmp_path):
    options = {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"}
    trainer = build(tmp_path, **{**QUIET, **options}, halve_on_rising_loss=2)
    with pytest.raises(ValueError, match=r"ReduceLROnPlateau is none. Choose another lr_scheduler_type"):
        trainer.train()
    with pytest.raises(ValueError, match=r"1 epoch or more. Got 0"):
        HalveOnRisingLoss(0)


def test_a_pace_is_of_the_steps_that_were_done_here(tmp_path):
    def paced():
        trainer = build(tmp_path, max_steps=3, save_strategy="steps", save_steps=3, **QUIET)
        trainer.add_callback(pace := Pace())
        return trainer, pace

    trainer, pace = paced()
    begun = time.perf_counter()
    trainer.train()
    assert pace.steps == 3
    assert pace.steps_per_second > 3 / (time.perf_counter() - begun)
    # A run that was ended after its last step has none left.
    trainer, left = paced()
    trainer.train(resume_from_checkpoint=True)
    assert left.steps_per_second is None
