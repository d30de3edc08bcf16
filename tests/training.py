"""A whole small training run, for tests that start it in processes of their own: `python training.py SPEC.json`."""

import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from conftest import rows, small, tokenizer
from transformers import TrainerCallback

from hf_multitask import QQP, SST, STS, MultitaskConfig, MultitaskModel
from hf_multitask.aggregators import build_aggregator
from hf_multitask.arguments import MultitaskTrainingArguments
from hf_multitask.regularizers import build_regularizer
from hf_multitask.schedules import build_schedule
from hf_multitask.trainer import MultitaskTrainer
from hf_multitask.tuners.methods import build_tuner

HERE = Path(__file__).parent


class KillAt(TrainerCallback):
    """End the process without a word after a step, as a machine does that is taken away."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def build(
    output_dir, *, schedule, dropout=0.0, tuner=None, frozen=False, aggregator=None, regularizers=(), **arguments
):
    torch.manual_seed(0)
    trunk, words, data = (fixture.__wrapped__ for fixture in (small, tokenizer, rows))
    config = trunk()
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    tasks = {task.name: task.describe() for task in (SST, QQP, STS)}
    model = MultitaskModel(
        MultitaskConfig(trunk=config, tasks=tasks, dropout=dropout, freeze_trunk=frozen, max_length=32)
    )
    if tuner is not None:
        model.add_adapters(build_tuner(tuner))
    options = {
        "learning_rate": 1e-3,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "warmup_steps": 0,
        "disable_tqdm": True,
        "logging_steps": 1,
        **arguments,
    }
    return MultitaskTrainer(
        model,
        MultitaskTrainingArguments(str(output_dir), **options),
        train_dataset=data(),
        eval_dataset=data(),
        schedule=build_schedule(schedule),
        aggregator=None if aggregator is None else build_aggregator(aggregator),
        regularizers=[build_regularizer(spec) for spec in regularizers],
        processing_class=words(),
    )


def end_of(trainer, *, resume=None):
    """Train, and give all that a run ends with."""
    trainer.train(resume_from_checkpoint=resume)
    return {
        "weights": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict()["state"],
        "schedule": trainer.lr_scheduler.state_dict(),
        "random": torch.get_rng_state(),
        "history": trainer.state.log_history,
    }


def start(folder, *specs, processes=1):
    """Run trainings one after the other in processes of their own; the return code and what was printed."""
    (folder / "specs.json").write_text(json.dumps(specs))
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*launch, str(HERE / "training.py"), str(folder / "specs.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def ends(folder, *specs, processes=1):
    """What each of the trainings ended with."""
    done = start(folder, *specs, processes=processes)
    assert done.returncode == 0, done.stderr
    return [torch.load(Path(spec["output_dir"]) / "end.pt", weights_only=False) for spec in specs]


def assert_near(one, other, *, within=1e-5):
    for name, weight in one["weights"].items():
        torch.testing.assert_close(
            weight, other["weights"][name], atol=within, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )


def assert_identical(one, other):
    for part in ("weights", "optimizer", "schedule", "random"):
        torch.testing.assert_close(one[part], other[part], atol=0, rtol=0)


def main(path):
    """Run every spec of a JSON list one after the other; `kill_at` and `resume` are settings of this script."""
    for spec in json.loads(Path(path).read_text()):
        kill, resume = spec.pop("kill_at", None), spec.pop("resume", None)
        trainer = build(**spec)
        if kill is not None:
            trainer.add_callback(KillAt(kill))
        end = end_of(trainer, resume=resume)
        if trainer.is_world_process_zero():
            torch.save(end, Path(spec["output_dir"]) / "end.pt")
        del trainer, end
        gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
