"""Every way to divide training among processes trains like one process."""

import functools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from filelock import FileLock
from training_runs import assert_identical, assert_near, build, end_of, start

from hf_multitask.schedules import SCHEDULES
from hf_multitask.training.backends import backend_of, prepare

pytestmark = pytest.mark.distributed

CONFIGS = Path(__file__).parents[2] / "recipes" / "configs" / "accelerate"
BACKENDS = ["two_cpu", "zero1", "zero2", "zero3", "zero3_offload", "fsdp2"]
WHOLE = {"two_cpu", "zero1", "zero2"}
"""Where every process holds all weights."""
ROUND = {"class": "RoundRobin"}
PAL = {"class": "Pal", "width": 12, "heads": 3}
LORA = {"class": "LoraConfig", "r": 4, "lora_alpha": 16}
# From noise as small as the paper's, single precision makes the first ascent's direction a matter of rounding.
SMART = {"class": "Smart", "weight": 1.0, "epsilon": 1e-2, "eta": 1e-2, "sigma": 1e-2}
BREGMAN = {"class": "Bregman", "weight": 1.0}
OPTIONS = {"Temperature": {"t": 2.0}, "EndWith": {"schedule": ROUND, "task": "sts"}}

CASES = {name: {"schedule": {"class": name, **OPTIONS.get(name, {})}} for name in SCHEDULES}
CASES["accumulation"] = {"schedule": ROUND, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}
CASES["pal"] = {"schedule": {"class": "Annealed"}, "tuner": PAL}
CASES["pal_frozen"] = {"schedule": {"class": "Cycle"}, "tuner": PAL, "frozen": True}
CASES["lora_frozen"] = {"schedule": {"class": "Cycle"}, "tuner": LORA, "frozen": True}
CASES["cosine"] = {"schedule": ROUND, "heads": {"sts": "Cosine"}}
CASES["mean"] = {"schedule": {"class": "Cycle"}, "loss": "mean"}
CASES["smart"] = {"schedule": {"class": "Cycle"}, "regularizers": [SMART]}
CASES["smart_bregman"] = {"schedule": ROUND, "regularizers": [SMART, BREGMAN], "tuner": PAL}
CASES["pcgrad"] = {"schedule": ROUND, "aggregator": {"class": "PCGrad"}}
CASES["idle"] = {"schedule": {"class": "Sequential"}, "max_steps": 3, "weight_decay": 0.5, "tuner": PAL}
BASE = {"max_steps": 12, "eval_strategy": "steps", "eval_steps": 6, "save_strategy": "no", "weight_decay": 0.1}
BASE |= {"load_best_model_at_end": False}
SAVING = {"schedule": {"class": "Annealed"}, "tuner": PAL, "dropout": 0.1, "max_steps": 12, "save_total_limit": None}
SAVING |= {
    "heads": {"sts": "Cosine"},
    "save_strategy": "steps",
    "save_steps": 4,
    "eval_strategy": "steps",
    "eval_steps": 4,
}
# Schedules decide which rows a step reads, and how training is divided does not ask which.
RUN = {backend: [name for name in CASES if backend == "two_cpu" or name not in SCHEDULES] for backend in BACKENDS}
REFUSED = {"smart": {"fsdp2"}, "smart_bregman": set(BACKENDS) - WHOLE, "pcgrad": set(BACKENDS) - {"two_cpu"}}


def launch(backend, folder):
    """Every case of a backend, all of them in one launch of two processes."""
    folder.mkdir()
    specs = {name: {**BASE, "per_device_train_batch_size": 6, **CASES[name]} for name in RUN[backend]}
    for name in specs:
        specs[name]["refused"] = backend in REFUSED.get(name, ())
    specs["whole"] = {**SAVING, "per_device_train_batch_size": 6}
    specs["resumed"] = {**specs["whole"], "resume": str(folder / "whole" / "checkpoint-4")}
    placed = [{**spec, "output_dir": str(folder / name)} for name, spec in specs.items()]
    done = start(folder, *placed, processes=2, config=CONFIGS / f"{backend}.yaml")
    (folder / "printed.txt").write_text(done.stderr)


@pytest.fixture(scope="session")
def found(tmp_path_factory, worker_id):
    """What every case ended with under a backend: the first of pytest's workers to ask launches it, for all of them."""
    mine = tmp_path_factory.getbasetemp()
    shared = mine if worker_id == "master" else mine.parent

    def end(backend, name):
        folder = shared / backend
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                launch(backend, folder)
        place = folder / name / "end.pt"
        assert place.is_file(), (folder / "printed.txt").read_text()[-4000:]
        return torch.load(place, weights_only=False)

    return end


@functools.cache
def alone(name, folder):
    one = {"per_device_train_batch_size": 12, "gradient_accumulation_steps": 1}
    return end_of(build(**{**BASE, **CASES[name], **one, "output_dir": folder}))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("alone")


@pytest.mark.parametrize(("backend", "name"), [(backend, name) for backend in BACKENDS for name in RUN[backend]])
def test_it_trains_like_one_process(backend, name, found, folder):
    two = found(backend, name)
    if backend in REFUSED.get(name, ()):
        assert "Launch with plain DDP" in two["refused"]
        return
    one = alone(name, folder / name)
    assert_near(one, two)
    for mine, other in zip(one["history"], two["history"], strict=True):
        numbers = {key for key in mine if not key.startswith(("train_", "eval_runtime", "eval_samples", "total_flos"))}
        assert numbers <= other.keys()
        for key in numbers:
            assert mine[key] == pytest.approx(other[key], rel=1e-6, abs=1e-5), f"{key} at step {mine['step']}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_idle_tasks_are_left_bit_for_bit(backend, found, folder):
    end = found(backend, "idle")["weights"]
    before = build(folder, **CASES["idle"]).model.state_dict()
    moved = {name for name, weight in before.items() if not torch.equal(weight, end[name])}
    assert any(".sst." in name for name in moved if name.startswith("trunk"))
    assert "heads.sst.out.weight" in moved
    assert not [name for name in moved if "qqp" in name or "sts" in name]


@pytest.mark.parametrize("backend", BACKENDS)
def test_resumed_it_ends_where_the_uninterrupted_run_ends(backend, found):
    assert_identical(found(backend, "whole"), found(backend, "resumed"))
    losses = [[e["loss"] for e in found(backend, n)["history"] if "loss" in e] for n in ("whole", "resumed")]
    assert len(losses[0]) == 12
    assert losses[0] == losses[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_are_divided_where_they_should_be(backend, found, folder):
    whole = sum(p.numel() for p in build(folder, schedule=ROUND).model.parameters())
    share = found(backend, "mean")["here"] / whole
    assert share == 1 if backend in WHOLE else 0.5 <= share < 0.6


def deepspeed(**config):
    plugin = SimpleNamespace(zero_stage=2, deepspeed_config=config)
    return SimpleNamespace(distributed_type=DistributedType.DEEPSPEED, state=SimpleNamespace(deepspeed_plugin=plugin))


def test_what_is_not_what_it_says_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="Leave `optimizer` out of its configuration"):
        prepare(deepspeed(optimizer={"type": "AdamW"}), optim="adamw_torch_fused")
    with pytest.raises(ValueError, match="adafactor would move the heads"):
        prepare(deepspeed(), optim="adafactor")
    accelerator = deepspeed(zero_optimization={"offload_optimizer": {"device": "cpu"}})
    prepare(accelerator, optim="adamw_torch_fused")
    assert accelerator.state.deepspeed_plugin.deepspeed_config["zero_force_ds_cpu_optimizer"] is False
    assert backend_of(accelerator) == "ZeRO-2"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="accelerate has it for GPUs alone"):
        prepare(SimpleNamespace(distributed_type=DistributedType.MULTI_CPU), optim="adamw_torch_fused")
