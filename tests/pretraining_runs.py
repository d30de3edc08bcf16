"""A small first stage, for tests that start it in processes of their own: `python pretraining_runs.py SPECS.json`."""

import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from conftest import rows, small, tokenizer
from training import SignalAt, end_of

from hf_multitask import STS, MultitaskConfig, MultitaskModel
from hf_multitask.pretraining.encoder import add_adapter
from hf_multitask.pretraining.evaluators import evaluators
from hf_multitask.pretraining.stages import build_stage
from hf_multitask.pretraining.texts import TaskTexts
from hf_multitask.pretraining.trainer import PretrainingArguments, PretrainingTrainer
from hf_multitask.tuners.methods import build_tuner

NO_DROPOUT = 1e-9
"""As little as SimCSE takes: what several processes do is compared with what one does."""


def encoder_of(pooling="mean", dropout=0.0):
    torch.manual_seed(0)
    config = small.__wrapped__()
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    model = MultitaskModel(MultitaskConfig(trunk=config, tasks={}, pooling=pooling, max_length=32))
    model.tokenizer = tokenizer.__wrapped__()
    return model.to_sentence_transformer()


def build(output_dir, *, stage, pooling="mean", dropout=0.0, tuner=None, freeze=False, **arguments):
    encoder, stage, data = encoder_of(pooling, dropout), build_stage(stage), rows.__wrapped__()
    if tuner is not None:
        add_adapter(encoder, build_tuner(tuner), freeze=freeze)
    options = {
        "learning_rate": 1e-3,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "warmup_steps": 0,
        "disable_tqdm": True,
        "logging_steps": 1,
        "metric_for_best_model": "sts_spearman_cosine",
        **arguments,
    }
    return PretrainingTrainer(
        encoder,
        PretrainingArguments(str(output_dir), **options),
        stage=stage,
        rows=stage.rows(data, TaskTexts().sentences(data)),
        evaluators=evaluators(STS, data["sts"], data["sts"]),
    )


def ends(folder, *specs, processes=1):
    """What each of the runs ended with, one after the other in processes of their own."""
    done = start(folder, *specs, processes=processes)
    assert done.returncode == 0, done.stderr
    return [torch.load(Path(spec["output_dir"]) / "end.pt", weights_only=False) for spec in specs]


def start(folder, *specs, processes=1):
    (folder / "specs.json").write_text(json.dumps(specs))
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    here = Path(__file__)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(here.parent)}
    command = [*launch, str(here), str(folder / "specs.json")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def main(path):
    """Run every spec of a JSON list; `kill_at` and `resume` are settings of this script."""
    for spec in json.loads(Path(path).read_text()):
        kill, resume = spec.pop("kill_at", None), spec.pop("resume", None)
        trainer = build(**spec)
        if kill is not None:
            trainer.add_callback(SignalAt(signal.SIGKILL, kill))
        end = end_of(trainer, resume=resume)
        if trainer.is_world_process_zero():
            torch.save(end, Path(spec["output_dir"]) / "end.pt")
        del trainer, end
        gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
