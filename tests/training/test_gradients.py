import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.utils import DistributedType
from torchjd import aggregation
from training_runs import assert_identical, assert_near, build, end_of, ends, start
from transformers import TrainerCallback

from hf_multitask import QQP, SST, MultitaskConfig, MultitaskModel
from hf_multitask.aggregators import AGGREGATORS, PCGrad, Sum
from hf_multitask.arguments import MultitaskTrainingArguments
from hf_multitask.data.encoded import split_by_task
from hf_multitask.trainer import MultitaskTrainer
from hf_multitask.training.gradients import TaskGradients

ROUND = {"class": "RoundRobin"}
PCGRAD = {"class": "PCGrad"}
QUIET = {"schedule": ROUND, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
PAL = {"class": "Pal", "width": 12, "heads": 3}
LORA = {"class": "LoraConfig", "r": 4, "lora_alpha": 16}


def step(trainer, *, micro_steps=1):
    """The gradients that are there before clipping, and the batches that they are of."""
    batches = iter(trainer.get_train_dataloader())
    taken = [next(batches) for _ in range(micro_steps)]
    trainer.current_gradient_accumulation_steps = micro_steps
    for number, batch in enumerate(taken, start=1):
        trainer.accelerator.gradient_state._set_sync_gradients(number == micro_steps)
        trainer.training_step(trainer.model, batch)
    return {name: parameter.grad for name, parameter in trainer.model.named_parameters()}, taken


def by_hand(trainer, batches):
    """Each task's own gradient of a step, whatever the trainer does."""
    named = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    found = {}
    for name in trainer.names:
        parts = [split_by_task(batch)[name] for batch in batches]
        loss = sum(trainer.weights[name] * trainer.model(**part).losses[name] for part in parts) / len(parts)
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        found[name] = dict(zip(named, gradients, strict=True))
    return found


def is_own(name):
    return name.startswith("heads.") or any(f".{task}." in name for task in ("sst", "qqp", "sts"))


@pytest.mark.parametrize("optim", ["sgd", "adamw_torch"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_sum_trains_as_summed_losses_do(optim, accumulation, tmp_path):
    spec = {**QUIET, "optim": optim, "max_steps": 10, "gradient_accumulation_steps": accumulation}
    spec |= {"learning_rate": 0.1 if optim == "sgd" else 1e-4}
    plain, summed = (end_of(build(tmp_path, **spec, aggregator=a)) for a in (None, {"class": "Sum"}))
    assert_near(plain, summed, within=1e-6)
    for one, other in zip(plain["history"][:-1], summed["history"][:-1], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], abs=1e-5)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_penalties_are_part_of_their_tasks_gradients(accumulation, tmp_path):
    spec = {**QUIET, "regularizers": [{"class": "Smart", "weight": 5.0}, {"class": "Bregman", "weight": 1.0}]}
    spec |= {"max_steps": 6, "gradient_accumulation_steps": accumulation}
    plain, summed = (end_of(build(tmp_path, **spec, aggregator=a)) for a in (None, {"class": "Sum"}))
    assert_near(plain, summed, within=1e-6)


@pytest.mark.parametrize("tuner", [None, PAL, LORA])
@pytest.mark.parametrize("micro_steps", [1, 2])
def test_pcgrad_writes_what_torchjd_makes_of_the_tasks_gradients(tuner, micro_steps, tmp_path, monkeypatch):
    trainer = build(tmp_path, **QUIET, tuner=tuner, aggregator=PCGRAD, gradient_accumulation_steps=micro_steps, seed=5)
    trainer.weights = {"sst": 1.0, "qqp": 3.0, "sts": 0.5}
    trainer.state.global_step = 4
    written, batches = step(trainer, micro_steps=micro_steps)
    tasks = by_hand(trainer, batches)
    shared = [name for name, gradient in tasks["sst"].items() if gradient is not None and not is_own(name)]
    jacobian = torch.stack([torch.cat([found[name].flatten() for name in shared]) for found in tasks.values()])
    assert (jacobian @ jacobian.T).min() < 0
    draw = np.random.default_rng([5, 4])
    monkeypatch.setattr(torch, "randperm", lambda count: torch.from_numpy(draw.permutation(count)))
    want = aggregation.PCGrad()(jacobian.double()).float()
    torch.testing.assert_close(torch.cat([written[name].flatten() for name in shared]), want, atol=1e-6, rtol=1e-5)
    for name in written.keys() - set(shared):
        plain = [found[name] for found in tasks.values() if found.get(name) is not None]
        assert len(plain) <= 1
        torch.testing.assert_close(written[name], *plain or [None], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_training_does_not_depend_on_accumulation(name, tmp_path):
    spec = {**QUIET, "max_steps": 12, "aggregator": {"class": name}}
    whole, split = (
        build(tmp_path, **spec, per_device_train_batch_size=8 // micro, gradient_accumulation_steps=micro)
        for micro in (1, 2)
    )
    assert_near(end_of(whole), end_of(split))


def test_two_processes_train_like_one(tmp_path):
    specs = {name: {"aggregator": {"class": name}} for name in AGGREGATORS}
    specs["adapters"] = {"aggregator": PCGRAD, "tuner": PAL}
    specs["accumulation"] = {"aggregator": PCGRAD, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    specs["idle"] = {"aggregator": PCGRAD, "schedule": {"class": "EndWith", "schedule": ROUND, "task": "sts"}}
    specs["idle"] |= {"weight_decay": 0.5}
    base = {"schedule": ROUND, "max_steps": 12}
    two = [{**base, "per_device_train_batch_size": 4, **s, "output_dir": str(tmp_path / n)} for n, s in specs.items()]
    for (name, spec), found in zip(specs.items(), ends(tmp_path, *two, processes=2), strict=True):
        rows = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
        one = end_of(build(**{**base, **spec, **rows, "output_dir": tmp_path / "one" / name}))
        assert_near(one, found)
        for mine, other in zip(one["history"], found["history"], strict=True):
            for key in (key for key in mine if key.startswith(("loss", "grad_norm", "cosine", "conflicts"))):
                assert mine[key] == pytest.approx(other[key], abs=1e-3), f"{name}: {key}"


@pytest.mark.parametrize("accumulation", [1, 2])
def test_killed_and_resumed_it_ends_where_the_uninterrupted_run_ends(accumulation, tmp_path):
    spec = {**QUIET, "aggregator": PCGRAD, "dropout": 0.1, "save_strategy": "steps", "save_steps": 2, "max_steps": 11}
    spec |= {"gradient_accumulation_steps": accumulation}
    cut = {**spec, "output_dir": str(tmp_path / "cut")}
    assert start(tmp_path, {**cut, "kill_at": 7}).returncode == -signal.SIGKILL
    whole = end_of(build(tmp_path / "whole", **spec))
    assert_identical(whole, end_of(build(**cut), resume=True))


def test_a_run_that_broke_off_leaves_nothing_behind(tmp_path):
    spec = {**QUIET, "aggregator": PCGRAD, "gradient_accumulation_steps": 2, "max_steps": 3}
    trainer, other = (build(tmp_path, **spec) for _ in range(2))
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.accelerator.gradient_state._set_sync_gradients(False)
    trainer.current_gradient_accumulation_steps = 2
    trainer.training_step(trainer.model, batch)
    assert_near(end_of(trainer), end_of(other), within=0)


def test_what_no_task_of_a_step_reaches_is_left_alone(tmp_path):
    spec = {**QUIET, "schedule": {"class": "EndWith", "schedule": ROUND, "task": "sst"}}
    trainer = build(tmp_path, **spec, aggregator=PCGRAD)
    found, (batch,) = step(trainer)
    assert None not in found.values()
    trainer.model.zero_grad()
    want = by_hand(trainer, [batch])["sst"]
    trainer.training_step(trainer.model, split_by_task(batch)["sst"])
    for name, parameter in trainer.model.named_parameters():
        assert (parameter.grad is None) == name.startswith(("heads.qqp", "heads.sts")), name
        torch.testing.assert_close(parameter.grad, want[name])


def test_what_one_task_alone_reaches_gets_its_gradient_and_what_none_reaches_gets_none(tmp_path):
    trainer = build(tmp_path, **QUIET, aggregator={"class": "Sum"})
    trunk = trainer.model.trunk
    trunk.used, trunk.unused = (torch.nn.Parameter(torch.ones(16)) for _ in range(2))
    trainer.model.heads["sst"].register_forward_pre_hook(lambda head, pooled: (pooled[0] * trunk.used,))
    trainer.gradients.lay_out(trainer.model)
    trainer.gradients.flat.fill_(math.nan)
    found, batches = step(trainer)
    want = by_hand(trainer, batches)["sst"]["trunk.used"]
    torch.testing.assert_close(found.pop("trunk.used"), want)
    assert found.pop("trunk.unused") is None
    assert all(gradient.isfinite().all() for gradient in found.values())


def test_a_launcher_of_one_process_changes_nothing(tmp_path):
    spec = {"schedule": ROUND, "max_steps": 4, "aggregator": PCGRAD}
    (launched,) = ends(tmp_path, {**spec, "output_dir": str(tmp_path / "launched")}, processes=1)
    assert_near(end_of(build(tmp_path / "plain", **spec)), launched)


def test_frozen_parameters_and_those_that_thaw(tmp_path):
    trainer = build(tmp_path, **QUIET, aggregator={"class": "Sum"})
    words = trainer.model.get_input_embeddings().weight
    words.requires_grad_(False)
    step(trainer)
    assert words.grad is None
    words.requires_grad_(True)
    trainer.model.zero_grad()
    _, batches = step(trainer)
    want = sum(found["trunk.embeddings.word_embeddings.weight"] for found in by_hand(trainer, batches).values())
    torch.testing.assert_close(words.grad, want, atol=1e-6, rtol=1e-5)


class Norms(TrainerCallback):
    """The norm of the gradients that the optimizer gets."""

    def __init__(self):
        self.seen = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        self.seen.append(torch.cat(grads).norm().item())


def test_what_is_written_is_clipped(tmp_path):
    trainer = build(tmp_path, **QUIET, aggregator=PCGRAD, max_steps=3, max_grad_norm=0.01)
    trainer.add_callback(norms := Norms())
    trainer.train()
    assert norms.seen == [pytest.approx(0.01, rel=1e-3)] * 3
    assert min(entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry) > 0.01


def test_logs_hold_the_cosine_of_each_pair_and_the_share_of_conflicts(tmp_path):
    trainer = build(tmp_path, **QUIET, aggregator={"class": "Sum"}, max_steps=6, logging_steps=3, learning_rate=0.0)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "conflicts" in entry]
    assert [entry["step"] for entry in logged] == [3, 6]
    batches = list(trainer.get_train_dataloader())[:3]
    pairs = {"cosine_sst_qqp": [], "cosine_sst_sts": [], "cosine_qqp_sts": []}
    for batch in batches:
        rows = {
            task: torch.cat([g.flatten() for name, g in found.items() if g is not None and not is_own(name)])
            for task, found in by_hand(trainer, [batch]).items()
        }
        for key, found in pairs.items():
            _, one, other = key.split("_")
            found.append(torch.cosine_similarity(rows[one], rows[other], dim=0).item())
    for key, found in pairs.items():
        assert logged[0][key] == pytest.approx(np.mean(found), abs=1e-5)
    negative = [cosine < 0 for found in pairs.values() for cosine in found]
    assert logged[0]["conflicts"] == pytest.approx(np.mean(negative))


@pytest.mark.parametrize("flags", [{"bf16": True}, {"torch_compile": True, "torch_compile_backend": "eager"}])
def test_flags_train(flags, tmp_path):
    plain, flagged = (end_of(build(tmp_path, **QUIET, aggregator=PCGRAD, max_steps=5, **f)) for f in ({}, flags))
    losses = [[entry["loss"] for entry in end["history"] if "loss" in entry] for end in (plain, flagged)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert all(math.isfinite(value) for entry in flagged["history"] for value in entry.values())


def test_gradients_that_overflow_reach_whoever_looks_for_them(tmp_path):
    trainer = build(tmp_path, **QUIET, aggregator={"class": "UPGrad"})
    trainer.weights["qqp"] = math.inf
    found, _ = step(trainer)
    assert not all(gradient.isfinite().all() for gradient in found.values() if gradient is not None)
    assert trainer.gradients.logs() == {}


@pytest.mark.parametrize("kind", [DistributedType.DEEPSPEED, DistributedType.FSDP])
def test_sharded_gradients_are_refused(kind, model):
    accelerator = SimpleNamespace(distributed_type=kind)
    with pytest.raises(ValueError, match=r"PCGrad needs the whole gradient of each task.*Launch with plain DDP"):
        TaskGradients(PCGrad(), model, accelerator=accelerator, most=3, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": {"class": "Annealed"}}, r"under Annealed no step of sst, qqp, sts holds two.*RoundRobin"),
        ({"loss": "mean"}, r"so does loss: mean. Leave loss at sum"),
        ({"frozen": True}, r"here each trains its own alone. Unfreeze the trunk"),
        ({"frozen": True, "tuner": PAL}, r"here each trains its own alone. Unfreeze the trunk"),
    ],
)
def test_what_could_have_no_effect_is_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, **{**QUIET, **options}, aggregator={"class": "Sum"})


def test_a_task_may_be_named_like_a_part_of_the_trunk(small, tokenizer, rows, tmp_path):
    tasks = {"attention": SST.describe(), "dense": QQP.describe()}
    model = MultitaskModel(MultitaskConfig(trunk=small, tasks=tasks, max_length=32))
    trainer = MultitaskTrainer(
        model,
        MultitaskTrainingArguments(str(tmp_path), eval_strategy="no", load_best_model_at_end=False),
        train_dataset={"attention": rows["sst"], "dense": rows["qqp"]},
        processing_class=tokenizer,
        aggregator=Sum(),
    )
    assert set(trainer.gradients.own) == set(model.heads.parameters())
