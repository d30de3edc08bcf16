import copy
import math
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_runs import assert_identical, assert_near, build, end_of, ends, start

from hf_multitask import MultitaskModel
from hf_multitask.arguments import MultitaskTrainingArguments
from hf_multitask.evaluator import evaluate
from hf_multitask.schedules import SCHEDULES, Annealed
from hf_multitask.trainer import MultitaskTrainer, NotFinite
from hf_multitask.training.checkpoints import newest_whole

OPTIONS = {
    "Temperature": {"t": 2.0},
    "EndWith": {"schedule": {"class": "Uniform", "steps_per_epoch": 5}, "task": "sts"},
}
ROUND = {"class": "RoundRobin"}
PAL = {"class": "Pal", "width": 12, "heads": 3}
LORA = {"class": "LoraConfig", "r": 4, "lora_alpha": 16}


def schedule(name):
    return {"class": name, **OPTIONS.get(name, {})}


@pytest.mark.parametrize("name", SCHEDULES)
def test_training_does_not_depend_on_accumulation(name, tmp_path):
    spec = {"schedule": schedule(name), "eval_strategy": "no", "save_strategy": "no", "max_steps": 12}
    whole, split = (
        build(
            tmp_path,
            **spec,
            load_best_model_at_end=False,
            per_device_train_batch_size=8 // micro,
            gradient_accumulation_steps=micro,
        )
        for micro in (1, 2)
    )
    assert_near(end_of(whole), end_of(split))


def test_two_processes_train_like_one_under_every_schedule(tmp_path):
    specs = {
        name: {"output_dir": str(tmp_path / name), "schedule": schedule(name), "max_steps": 12} for name in SCHEDULES
    }
    halves = [{**spec, "per_device_train_batch_size": 4} for spec in specs.values()]
    for name, two in zip(specs, ends(tmp_path, *halves, processes=2), strict=True):
        one = end_of(build(**{**specs[name], "output_dir": tmp_path / "one" / name}))
        assert_near(one, two)
        for mine, other in zip(one["history"], two["history"], strict=True):
            for key in mine.keys() & other.keys():
                if not key.startswith(("train_", "eval_runtime", "eval_samples")):
                    assert mine[key] == pytest.approx(other[key], abs=1e-3), f"{name}: {key}"


@pytest.mark.parametrize(("kill_at", "accumulation"), [(3, 1), (7, 1), (8, 1), (5, 2)])
def test_killed_and_resumed_it_ends_where_the_uninterrupted_run_ends(kill_at, accumulation, tmp_path):
    spec = {"schedule": schedule("Annealed"), "dropout": 0.1, "save_strategy": "steps", "save_steps": 2}
    spec |= {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 13, "gradient_accumulation_steps": accumulation}
    cut = {**spec, "output_dir": str(tmp_path / "cut")}
    assert start(tmp_path, {**cut, "kill_at": kill_at}).returncode == -signal.SIGKILL
    whole = end_of(build(tmp_path / "whole", **spec))
    assert_identical(whole, end_of(build(**cut), resume=True))


def test_two_processes_resume_in_a_later_epoch(tmp_path):
    spec = {"schedule": ROUND, "dropout": 0.1, "save_strategy": "steps", "save_steps": 3, "eval_strategy": "no"}
    spec |= {"load_best_model_at_end": False, "per_device_train_batch_size": 4, "num_train_epochs": 3}
    whole, cut = ({**spec, "output_dir": str(tmp_path / name)} for name in ("whole", "cut"))
    assert start(tmp_path, {**cut, "kill_at": 11}, processes=2).returncode != 0
    one, other = ends(tmp_path, whole, {**cut, "resume": True}, processes=2)
    assert_identical(one, other)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_resumed_after_its_last_step_it_trains_no_more(accumulation, tmp_path):
    spec = {"schedule": ROUND, "save_strategy": "steps", "save_steps": 4, "eval_strategy": "no", "max_steps": 10}
    spec |= {"load_best_model_at_end": False, "gradient_accumulation_steps": accumulation}
    whole, again = end_of(build(tmp_path, **spec)), build(tmp_path, **spec)
    assert_identical(whole, end_of(again, resume=True))
    assert again.state.global_step == 10


def test_resumed_after_its_last_fraction_of_an_epoch_it_trains_no_more(tmp_path):
    spec = {"schedule": ROUND, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "no"}
    spec |= {"load_best_model_at_end": False, "num_train_epochs": 1.6}
    whole, again = end_of(build(tmp_path, **spec)), build(tmp_path, **spec)
    assert_identical(whole, end_of(again, resume=True))
    assert again.state.global_step == 12


def test_a_resumed_run_waits_as_long_for_a_better_score_as_it_is_told_now(tmp_path):
    spec = {"schedule": ROUND, "num_train_epochs": 6, "learning_rate": 0.0}
    build(tmp_path, **spec, early_stopping=1).train()
    again = build(tmp_path, **spec, early_stopping=3)
    again.train(resume_from_checkpoint=True)
    assert again.state.epoch == 4


def test_the_arguments_stay_as_they_were_given(model, rows, tmp_path):
    arguments = MultitaskTrainingArguments(str(tmp_path), eval_strategy="no", load_best_model_at_end=False)
    trainer = MultitaskTrainer(model, arguments, train_dataset=rows)
    assert trainer.args.ddp_find_unused_parameters is False
    assert arguments.ddp_find_unused_parameters is None


@pytest.mark.parametrize("name", ["compute_loss_func", "compute_metrics"])
def test_a_loss_and_metrics_of_ones_own_are_refused(name, model, rows, tmp_path):
    with pytest.raises(ValueError, match=f"Leave {name} out"):
        MultitaskTrainer(model, MultitaskTrainingArguments(str(tmp_path)), train_dataset=rows, **{name: print})


def test_what_is_asked_of_another_trainer_is_told_where_to_go(model, rows, tmp_path):
    trainer = MultitaskTrainer(model, MultitaskTrainingArguments(str(tmp_path)), train_dataset=rows, eval_dataset=rows)
    with pytest.raises(NotImplementedError, match=r"trainer\.model\.predict"):
        trainer.predict(rows)
    with pytest.raises(ValueError, match=r"eval_dataset is \{task: rows\}.*Got Dataset"):
        trainer.evaluate(rows["sst"])


@pytest.mark.parametrize(("tuner", "frozen"), [(PAL, False), (PAL, True), (LORA, True)])
def test_with_adapters_two_processes_train_like_one(tuner, frozen, tmp_path):
    spec = {"tuner": tuner, "frozen": frozen, "max_steps": 12}
    specs = [
        {**spec, "schedule": schedule(name), "output_dir": str(tmp_path / name)} for name in ("RoundRobin", "Cycle")
    ]
    halves = [{**spec, "per_device_train_batch_size": 4} for spec in specs]
    for spec, two in zip(specs, ends(tmp_path, *halves, processes=2), strict=True):
        assert_near(end_of(build(**{**spec, "output_dir": tmp_path / "one"})), two)


@pytest.mark.parametrize(("tuner", "frozen"), [(PAL, False), (PAL, True), (LORA, True)])
def test_with_adapters_it_resumes_and_ends_with_the_best(tuner, frozen, tmp_path):
    spec = {"schedule": schedule("Annealed"), "dropout": 0.1, "save_strategy": "steps", "save_steps": 2, "max_steps": 9}
    spec |= {"tuner": tuner, "frozen": frozen, "eval_strategy": "steps", "eval_steps": 2}
    whole, cut = ({**spec, "output_dir": str(tmp_path / name)} for name in ("whole", "cut"))
    assert start(tmp_path, {**cut, "kill_at": 5}).returncode == -signal.SIGKILL
    trainer = build(**whole)
    end = end_of(trainer)
    assert_identical(end, end_of(build(**cut), resume=True))
    best = MultitaskModel.from_pretrained(trainer.state.best_model_checkpoint).state_dict()
    for name, weight in end["weights"].items():
        assert torch.equal(weight, best[name]), name


@pytest.mark.parametrize("tuner", [PAL, LORA])
def test_idle_adapters_are_left_alone(tuner, tmp_path):
    spec = {"schedule": {"class": "Sequential"}, "eval_strategy": "no", "save_strategy": "no", "max_steps": 4}
    trainer = build(tmp_path, **spec, tuner=tuner, load_best_model_at_end=False, weight_decay=0.5)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    moved = {k for k, v in trainer.model.state_dict().items() if not torch.equal(v, before[k])}
    assert any(".sst." in name for name in moved if name.startswith("trunk"))
    assert not [name for name in moved if ".qqp." in name or ".sts." in name]
    learnt = {n for n, p in trainer.model.named_parameters() if p in trainer.optimizer.state}
    assert not [name for name in learnt if ".qqp." in name or ".sts." in name]


def test_a_half_written_checkpoint_is_not_resumed_from(tmp_path):
    spec = {"schedule": ROUND, "save_strategy": "steps", "save_steps": 4, "eval_strategy": "no", "max_steps": 12}
    spec |= {"load_best_model_at_end": False, "save_total_limit": None}
    build(tmp_path, **spec).train()
    assert newest_whole(tmp_path).name == "checkpoint-12"
    optimizer = tmp_path / "checkpoint-12" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:100])
    assert newest_whole(tmp_path).name == "checkpoint-8"
    (tmp_path / "checkpoint-8" / "whole.json").unlink()
    assert newest_whole(tmp_path).name == "checkpoint-4"
    (tmp_path / "checkpoint-4" / "rng_state.pth").unlink()
    assert newest_whole(tmp_path) is None
    with pytest.raises(ValueError, match="No whole checkpoint"):
        build(tmp_path, **spec).train(resume_from_checkpoint=True)


def test_old_checkpoints_go_but_the_best_stays(tmp_path):
    trainer = build(tmp_path, schedule=ROUND, num_train_epochs=5, save_total_limit=2)
    trainer.train()
    kept = sorted(tmp_path.glob("checkpoint-*"))
    assert len(kept) == 2
    assert Path(trainer.state.best_model_checkpoint) in kept


def test_the_loss_is_the_sum_the_mean_or_a_weighted_sum(tmp_path):
    trainer = build(tmp_path, schedule=ROUND)
    batch = next(iter(trainer.get_train_dataloader()))
    loss, output = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    torch.testing.assert_close(loss, sum(output.losses.values()))
    trainer.args.loss = "mean"
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), loss / 3)
    trainer.args.loss, trainer.weights = "sum", {"sst": 2.0, "qqp": 0.0, "sts": 0.5}
    want = 2 * output.losses["sst"] + 0.5 * output.losses["sts"]
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), want)


def test_idle_heads_are_left_alone(tmp_path):
    spec = {"schedule": {"class": "Sequential"}, "eval_strategy": "no", "save_strategy": "no", "max_steps": 4}
    trainer = build(tmp_path, **spec, load_best_model_at_end=False, weight_decay=0.5)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    moved = {k for k, v in trainer.model.state_dict().items() if not torch.equal(v, before[k])}
    assert "heads.sst.out.weight" in moved
    assert not {k for k in moved if k.startswith(("heads.qqp", "heads.sts"))}


def test_logs_hold_every_tasks_curve_and_metrics(tmp_path):
    trainer = build(tmp_path, schedule=ROUND, num_train_epochs=1)
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(steps) == 7
    for entry in steps:
        assert sum(entry[f"loss_{name}"] for name in ("sst", "qqp", "sts")) == pytest.approx(entry["loss"], rel=1e-5)
    (scores,) = [entry for entry in trainer.state.log_history if "eval_score" in entry]
    report = evaluate(trainer.model, trainer.eval_dataset, resamples=0)
    assert scores["eval_score"] == pytest.approx(report.score)
    assert scores["eval_sts_pearson"] == pytest.approx(report.tasks["sts"]["pearson"])


def test_stops_early_on_the_score_and_ends_with_the_best(tmp_path):
    trainer = build(tmp_path, schedule=ROUND, num_train_epochs=50, learning_rate=0.0, early_stopping=2)
    trainer.train()
    assert trainer.state.epoch == 3
    assert trainer.state.best_global_step == 7


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    trainer = build(
        tmp_path, schedule=ROUND, save_strategy="steps", save_steps=2, eval_strategy="no", load_best_model_at_end=False
    )

    def spoil(model, args, output):
        if trainer.state.global_step == 5:
            output.losses["sts"] = output.losses["sts"] * math.nan
        return output

    trainer.model.register_forward_hook(spoil)
    with pytest.raises(NotFinite, match=r"loss of sts is not a number at step 6.*checkpoint-4"):
        trainer.train()
    assert newest_whole(tmp_path).name == "checkpoint-4"


@pytest.mark.parametrize("flags", [{"bf16": True}, {"torch_compile": True, "torch_compile_backend": "eager"}])
def test_flags_train_and_save_clean_keys(flags, tmp_path):
    trainer = build(tmp_path, schedule=ROUND, num_train_epochs=1, **flags)
    names = set(trainer.model.state_dict())
    trainer.train()
    assert set(load_file(newest_whole(tmp_path) / "model.safetensors")) == names
    assert all(math.isfinite(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)


def test_workers_read_the_same_batches(tmp_path):
    alone, helped = (build(tmp_path, schedule=ROUND, dataloader_num_workers=n) for n in (0, 2))
    for one, other in zip(alone.get_train_dataloader(), helped.get_train_dataloader(), strict=True):
        torch.testing.assert_close(one, other)


def test_annealing_spans_the_epochs_that_max_steps_makes(tmp_path):
    trainer = build(tmp_path, schedule={"class": "Annealed", "steps_per_epoch": 4}, max_steps=10)
    trainer.get_train_dataloader()
    assert isinstance(trainer.schedule, Annealed)
    assert trainer.sampler.epochs == 3
    trainer.args.max_steps = 1
    trainer.get_train_dataloader()
    assert trainer.sampler.epochs == 0.25


def test_what_the_trunk_cannot_read_is_named_before_training(model, rows, tmp_path):
    arguments = MultitaskTrainingArguments(str(tmp_path), eval_strategy="no", load_best_model_at_end=False)
    model.config.max_length = 65
    model.tokenizer = copy.deepcopy(model.tokenizer)
    model.tokenizer.add_tokens(["so", "on"])
    with pytest.raises(ValueError, match=r"trunk has places for 64 tokens. Lower it. The tokenizer has 31 words, and"):
        MultitaskTrainer(model, arguments, train_dataset=rows)
    model.config.max_length = 64
    model.resize_token_embeddings(31)
    MultitaskTrainer(model, arguments, train_dataset=rows)


def test_a_temperature_of_before_does_not_outlive_training(tmp_path, caplog):
    trainer = build(tmp_path, schedule=ROUND, max_steps=1, eval_strategy="no", load_best_model_at_end=False)
    trainer.model.config.temperatures = {"sst": 5.0}
    trainer.train()
    assert trainer.model.config.temperatures == {}
    assert "The temperature of sst is dropped" in caplog.text


def test_an_unknown_task_is_named(model, rows, tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'sst'"):
        MultitaskTrainer(model, MultitaskTrainingArguments(str(tmp_path)), train_dataset={"ssst": rows["sst"]})


def test_what_could_not_be_trained_or_judged_is_refused_before_an_epoch_is_lost(model, rows, tmp_path):
    few, wrong = (
        rows["sst"].select([0, 1]),
        rows["sst"].select([0, 1]).remove_columns("label").add_column("label", [1, 5]),
    )
    for given, said in [
        ({"train_dataset": rows["sst"]}, r"train_dataset is \{task: rows\}, such as .* Got Dataset"),
        ({"train_dataset": rows, "eval_dataset": rows["sst"]}, r"eval_dataset is \{task: rows\}.* Got Dataset"),
        ({"train_dataset": {}}, "train_dataset is empty"),
        ({"train_dataset": {"sst": few.select([])}}, "Every task needs training rows. None for: sst."),
        ({"train_dataset": rows, "eval_dataset": {"sst": few.select([])}}, "The dataset of task 'sst' is empty"),
        ({"train_dataset": rows, "eval_dataset": {"sst": wrong}}, "The dataset of task 'sst': label 5 is not one of"),
        ({"train_dataset": rows, "weights": {"sst": -1}}, "The weight of a task is zero or more. Got -1 for sst"),
        ({"train_dataset": rows, "stream_rows": {"sst": 8}}, "those of 'sst' are none"),
        ({"train_dataset": rows, "stream_rows": {"ssst": 8}}, "Did you mean 'sst'"),
    ]:
        with pytest.raises(ValueError, match=said):
            MultitaskTrainer(model, MultitaskTrainingArguments(str(tmp_path)), **given)


def test_a_loss_setting_that_is_none_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"sum, mean\. Got 'product'"):
        build(tmp_path, schedule=ROUND, loss="product")
