"""A small training run, for tests that start it in processes of their own: `python training_runs.py SPEC.json`."""

import gc
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from conftest import rows, small, tokenizer
from transformers import TrainerCallback

from hf_multitask import TASKS, MultitaskConfig, MultitaskModel
from hf_multitask.aggregators import build_aggregator
from hf_multitask.arguments import MultitaskTrainingArguments
from hf_multitask.regularizers import build_regularizer
from hf_multitask.schedules import build_schedule
from hf_multitask.trainer import MultitaskTrainer
from hf_multitask.training.checkpoints import chosen
from hf_multitask.tuners.methods import build_tuner

HERE = Path(__file__).parent


class SignalAt(TrainerCallback):
    """Send the last process a signal after a step."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step and args.process_index == args.world_size - 1:
            os.kill(os.getpid(), self.number)


class LimitAt(TrainerCallback):
    """Let files grow no larger than `room` bytes after a step."""

    def __init__(self, room, step):
        self.room, self.step = room, step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, self.room))


def build(
    output_dir,
    *,
    schedule,
    tasks=("sst", "qqp", "sts"),
    heads=None,
    layers=2,
    limit=None,
    streamed=(),
    stream_rows=None,
    dropout=0.0,
    tuner=None,
    frozen=False,
    aggregator=None,
    regularizers=(),
    truncation_side="right",
    **arguments,
):
    """A trainer of the small model; `heads` maps tasks to classes, `limit` is of rows, `streamed` names tasks."""
    torch.manual_seed(0)
    trunk, words, data = (fixture.__wrapped__ for fixture in (small, tokenizer, rows))
    config = trunk()
    config.num_hidden_layers = layers
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    heads = {name: {"head": {"class": head}} for name, head in (heads or {}).items()}
    tasks = {name: {**TASKS[name].describe(), **heads.get(name, {})} for name in tasks}
    kept = {name: data()[name].take(limit or len(data()[name])) for name in tasks}
    model = MultitaskModel(
        MultitaskConfig(trunk=config, tasks=tasks, dropout=dropout, freeze_trunk=frozen, max_length=32)
    )
    tokens = words()
    tokens.truncation_side = truncation_side
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
        train_dataset={name: r.to_iterable_dataset() if name in streamed else r for name, r in kept.items()},
        stream_rows={name: len(kept[name]) for name in streamed} if stream_rows is None else stream_rows,
        eval_dataset=kept,
        schedule=build_schedule(schedule),
        aggregator=None if aggregator is None else build_aggregator(aggregator),
        regularizers=[build_regularizer(spec) for spec in regularizers],
        processing_class=tokens,
    )


def end_of(trainer, *, resume=None):
    """Train, and give all that a run ends with."""
    divided = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled
    if trainer.is_deepspeed_enabled:
        # Else ZeRO-3 leaves weights as small as these whole.
        zero = trainer.accelerator.state.deepspeed_plugin.deepspeed_config["zero_optimization"]
        zero["stage3_param_persistence_threshold"] = 0
    trainer.train(resume_from_checkpoint=resume)
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if divided else trainer.model.state_dict()
    return {
        "weights": {name: weight.float() for name, weight in weights.items()} if weights else {},
        # Where it is divided, each process has a part of its own.
        "optimizer": {} if divided else trainer.optimizer.state_dict()["state"],
        "schedule": trainer.lr_scheduler.state_dict(),
        "random": torch.get_rng_state(),
        "history": trainer.state.log_history,
        "here": sum(held(parameter) for parameter in trainer.model.parameters()),
    }


def divide_on_processors():
    """Have accelerate take two processes for two GPUs: it knows FSDP there alone, though PyTorch has it here too."""
    first = PartialState.__init__

    def start(self, *args, **options):
        first(self, *args, **options)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = start


def held(parameter):
    """How many numbers of a parameter this process holds."""
    if hasattr(parameter, "ds_tensor"):
        return parameter.ds_tensor.numel()
    return (parameter.to_local() if hasattr(parameter, "to_local") else parameter).numel()


def command(folder, *specs, processes=None, config=None, script=__file__):
    """The words and the environment that run trainings one after the other, under an accelerate `config` if given."""
    (folder / "specs.json").write_text(json.dumps(specs))
    launch = [sys.executable]
    if config is not None:
        launch += ["-m", "accelerate.commands.launch", "--config_file", str(config)]
        launch += ["--num_processes", str(processes or 1)]
        launch += ["--main_process_port", "0"]
    elif processes is not None:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    words = [*launch, str(script), str(folder / "specs.json")]
    return words, {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}


def start(folder, *specs, **options):
    """Run trainings in processes of their own; the return code and what was printed."""
    words, environment = command(folder, *specs, **options)
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def ends(folder, *specs, **options):
    """What each of the trainings ended with."""
    done = start(folder, *specs, **options)
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


def main(path, build):
    """Run every spec of a JSON list one after the other; what is no setting of `build` is for this script.

    `kill_at`, `terminate_at` and `room_at` are steps, `resume` is a checkpoint, True or "auto", and `refused` says that
    it cannot be built.
    """
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        divide_on_processors()
    for spec in json.loads(Path(path).read_text()):
        signals = {signal.SIGKILL: spec.pop("kill_at", None), signal.SIGTERM: spec.pop("terminate_at", None)}
        limit = LimitAt(spec.pop("room", None), spec.pop("room_at", None))
        resume, refused = spec.pop("resume", None), spec.pop("refused", None)
        place = Path(spec["output_dir"], "end.pt")
        try:
            trainer = build(**spec)
        except ValueError as error:
            if not refused:
                raise
            place.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"refused": str(error)}, place)
            continue
        trainer.add_callback(limit)
        for number, step in signals.items():
            trainer.add_callback(SignalAt(number, step))
        end = end_of(trainer, resume=chosen(resume, spec["output_dir"]) if resume == "auto" else resume)
        if trainer.is_world_process_zero():
            torch.save(end, place)
        del trainer, end
        gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], build)
