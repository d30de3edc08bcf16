"""A small first stage, for tests that start it in processes of their own: `python pretraining_runs.py SPECS.json`."""

import sys
from functools import partial

import torch
import training_runs
from conftest import rows, small, tokenizer

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


start, ends = (partial(function, script=__file__) for function in (training_runs.start, training_runs.ends))

if __name__ == "__main__":
    training_runs.main(sys.argv[1], build)
