import math
import signal

import pytest
import torch
from commands import ROOT
from pretraining_runs import NO_DROPOUT, build, encoder_of, ends, start
from sentence_transformers import SentenceTransformer
from training_runs import SignalAt, assert_identical, assert_near, end_of
from transformers import TrainerCallback

from hf_multitask import MinBertModel, MultitaskModel
from hf_multitask.models.adapters import is_adapter
from hf_multitask.models.encoding import encode
from hf_multitask.pretraining.encoder import ADAPTER, add_adapter, save_encoder
from hf_multitask.training.checkpoints import newest_whole
from hf_multitask.training.interruptions import Interrupted
from hf_multitask.tuners.methods import build_tuner

STAGES = [
    {"class": "SimCSE", "dropout": 0.2},
    {"class": "ClassRanking", "task": "sst"},
    {"class": "Ranking", "task": "qqp"},
]
BATCH = {"ClassRanking": 10, "SimCSE": 8, "Ranking": 4}
TEXTS = ["the film was good", "a dog sat on the mat", "how do i cook rice " * 9]


class Stop(Exception):
    pass


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Stop


def options(stage, **more):
    return {"stage": stage, "per_device_train_batch_size": BATCH[stage["class"]], **more}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage["class"])
def test_training_lowers_the_loss(stage, tmp_path):
    trainer = build(tmp_path, **options(stage, num_train_epochs=24, learning_rate=3e-3, load_best_model_at_end=False))
    history = end_of(trainer)["history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    third = len(losses) // 3
    assert sum(losses[-third:]) < 0.9 * sum(losses[:third])
    judged = [entry for entry in history if "eval_sts_spearman_cosine" in entry]
    assert len(judged) == 4
    assert {"eval_sts_pearson_cosine", "eval_sts_uniformity", "eval_sts_alignment"} <= set(judged[0])


RESUMED = [
    (STAGES[0], {"pooling": "cls", "dropout": 0.1}),
    (STAGES[1], {"dropout": 0.1, "tuner": {"class": "Pal", "width": 12}}),
    (STAGES[2], {"dropout": 0.1, "tuner": {"class": "LoraConfig", "r": 2}, "freeze": True}),
]


@pytest.mark.parametrize(("stage", "more"), RESUMED, ids=lambda value: value.get("class", ""))
def test_a_run_that_stopped_goes_on_as_if_it_had_not(stage, more, tmp_path):
    more = options(stage, **more, eval_strategy="no", load_best_model_at_end=False, save_steps=1)
    unbroken = end_of(build(tmp_path / "unbroken", **more))
    # In the second epoch, not at its beginning.
    stop = steps(unbroken) // 2 + 1
    broken = build(tmp_path / "broken", **more)
    broken.add_callback(StopAt(stop + 1))
    with pytest.raises(Stop):
        broken.train()
    checkpoint = newest_whole(tmp_path / "broken")
    assert checkpoint.name == f"checkpoint-{stop}"
    resumed = end_of(build(tmp_path / "broken", **more), resume=str(checkpoint))
    assert_identical(resumed, unbroken)


def test_a_checkpoint_of_another_encoder_is_named(tmp_path):
    more = options(STAGES[0], save_steps=1, max_steps=1, eval_strategy="no", load_best_model_at_end=False)
    build(tmp_path, **more).train()
    other = build(tmp_path, **more, tuner={"class": "Pal", "width": 12})
    with pytest.raises(ValueError, match=r"cannot go on from .*another trunk, head or adapter than this one, see 0\."):
        other.train(resume_from_checkpoint=str(newest_whole(tmp_path)))


def test_a_killed_process_leaves_a_checkpoint_to_go_on_from(tmp_path):
    spec = options(STAGES[0], pooling="cls", save_steps=3, eval_steps=3, dropout=0.1)
    (unbroken,) = ends(tmp_path, {**spec, "output_dir": str(tmp_path / "unbroken")})
    killed = start(tmp_path, {**spec, "output_dir": str(tmp_path / "killed"), "kill_at": 8})
    assert killed.returncode != 0
    checkpoint = newest_whole(tmp_path / "killed")
    assert checkpoint.name == "checkpoint-6"
    resumed = end_of(build(tmp_path / "killed", **spec), resume=str(checkpoint))
    assert_identical(resumed, unbroken)


def test_two_processes_train_like_one_and_go_on_like_two(tmp_path):
    """Negatives come from both, groups stay whole: two of n rows train like one of 2n."""
    both = {**STAGES[0], "dropout": NO_DROPOUT}
    specs = [options(stage, output_dir=str(tmp_path / stage["class"])) for stage in (both, *STAGES[1:])]
    specs[0] |= {"save_steps": 15, "eval_steps": 15}
    resumed = {
        **specs[0],
        "output_dir": str(tmp_path / "resumed"),
        "resume": str(tmp_path / "SimCSE" / "checkpoint-15"),
    }
    *two, again = ends(tmp_path, *specs, resumed, processes=2)
    for spec, end in zip(specs, two, strict=True):
        double = {**spec, "per_device_train_batch_size": 2 * spec["per_device_train_batch_size"]}
        one = end_of(build(**{**double, "output_dir": str(tmp_path / "one" / spec["stage"]["class"])}))
        assert steps(one) == steps(end)
        assert_near(end, one, within=2e-5)
        judged = [[e["eval_sts_spearman_cosine"] for e in run["history"] if "eval_runtime" in e] for run in (one, end)]
        assert judged[0] == pytest.approx(judged[1], abs=1e-3)
    # In the second epoch, not at its beginning.
    assert steps(two[0]) / 2 < 15 < steps(two[0])
    assert_identical(again, two[0])


@pytest.mark.distributed
def test_zero_divides_the_optimizer_and_changes_nothing(tmp_path):
    spec = options({**STAGES[0], "dropout": NO_DROPOUT}, save_steps=15, eval_steps=15, optim="adamw_torch")
    place, again = str(tmp_path / "zero"), str(tmp_path / "again")
    resumed = {"output_dir": again, "resume": f"{place}/checkpoint-15"}
    config = ROOT / "recipes" / "configs" / "accelerate" / "zero2.yaml"
    two, more = ends(tmp_path, {**spec, "output_dir": place}, {**spec, **resumed}, processes=2, config=config)
    one = end_of(build(**{**spec, "output_dir": str(tmp_path / "one"), "per_device_train_batch_size": 16}))
    assert steps(one) == steps(two)
    assert_near(two, one, within=2e-5)
    assert_near(more, two, within=0)


def test_what_divides_the_weights_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_multitask.pretraining.trainer.backend_of", lambda accelerator: "ZeRO-3")
    with pytest.raises(ValueError, match=r"under ZeRO-3 each process holds a part. Launch with .*zero2.yaml"):
        build(tmp_path, **options(STAGES[0]))


def test_told_to_stop_it_saves_and_goes_on_from_there_later(tmp_path):
    spec = options(STAGES[0], dropout=0.1, eval_strategy="no", load_best_model_at_end=False, save_steps=50)
    trainer = build(tmp_path / "cut", **spec)
    trainer.add_callback(SignalAt(signal.SIGTERM, 5))
    with pytest.raises(Interrupted, match=r"Told to stop, after step 6. `--resume auto` goes on from .*checkpoint-6"):
        trainer.train()
    again = end_of(build(tmp_path / "cut", **spec), resume=str(newest_whole(tmp_path / "cut")))
    assert_identical(again, end_of(build(tmp_path / "whole", **spec)))


def steps(end):
    return max(entry["step"] for entry in end["history"])


def test_half_precision_is_near_single(tmp_path):
    runs = [
        end_of(build(tmp_path / str(bf16), **options({**STAGES[0], "dropout": NO_DROPOUT}, bf16=bf16)))
        for bf16 in (False, True)
    ]
    single, half = ([entry["loss"] for entry in run["history"] if "loss" in entry] for run in runs)
    assert single != half
    assert half == pytest.approx(single, rel=0.1)


def test_the_best_model_is_what_is_left(tmp_path):
    trainer = build(tmp_path, **options(STAGES[0], num_train_epochs=4, learning_rate=1e-2))
    end_of(trainer)
    best = max(entry.get("eval_sts_spearman_cosine", -1) for entry in trainer.state.log_history)
    assert trainer.state.best_metric == pytest.approx(best)
    assert trainer.evaluator(trainer.model)["sts_spearman_cosine"] == pytest.approx(best, abs=1e-6)


def pooled(trunk, tokenizer, pooling):
    """The pooled rows of a trunk, by this package's own model."""
    model = MultitaskModel.from_trunk(trunk, {}, pooling=pooling).eval()
    encoded = encode(tokenizer, TEXTS, max_length=32)
    with torch.no_grad():
        hidden = [model.trunk(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in encoded.input_ids]
    return torch.stack([rows[0] if pooling == "cls" else rows.mean(0) for rows in hidden])


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_the_folder_is_a_trunk_and_a_sentence_transformer(pooling, tokenizer, tmp_path):
    encoder = encoder_of(pooling, dropout=0.1)
    trainer = build(tmp_path / "run", **options(STAGES[0], pooling=pooling))
    trainer.train()
    save_encoder(encoder_around(trainer), tmp_path / "trunk")
    loaded = SentenceTransformer(str(tmp_path / "trunk"), device="cpu")
    assert len(loaded) == 2
    vectors = loaded.encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(vectors, pooled(tmp_path / "trunk", tokenizer, pooling), atol=1e-5, rtol=0)
    assert not torch.allclose(vectors, encoder.encode(TEXTS, convert_to_tensor=True), atol=1e-3)
    MinBertModel.from_pretrained(tmp_path / "trunk", add_pooling_layer=False)
    assert not (tmp_path / "trunk" / "README.md").exists()


def encoder_around(trainer):
    """The encoder that a trainer trains, without the head."""
    return SentenceTransformer(modules=list(trainer.model)[:2], device="cpu")


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("tuner", [{"class": "Pal", "width": 12}, {"class": "LoraConfig", "r": 2}])
def test_an_adapter_is_kept_beside_the_trunk(tuner, freeze, tmp_path):
    before = encoder_of().state_dict()
    trainer = build(tmp_path / "run", **options(STAGES[1], tuner=tuner, freeze=freeze, learning_rate=1e-2))
    trainer.train()
    encoder = encoder_around(trainer)
    adapted = encoder.encode(TEXTS, convert_to_tensor=True)
    save_encoder(encoder, tmp_path / "trunk")
    assert torch.equal(adapted, encoder.encode(TEXTS, convert_to_tensor=True))

    bare = SentenceTransformer(str(tmp_path / "trunk"), device="cpu")
    same = all(torch.equal(weight, before[key]) for key, weight in bare.state_dict().items())
    assert same == freeze
    assert not torch.allclose(bare.encode(TEXTS, convert_to_tensor=True), adapted, atol=1e-4)
    bare.load_adapter(str(tmp_path / "trunk" / "adapters" / ADAPTER))
    torch.testing.assert_close(bare.encode(TEXTS, convert_to_tensor=True), adapted, atol=1e-5, rtol=0)


def test_an_adapter_alone_learns_where_the_trunk_is_frozen():
    encoder = encoder_of()
    add_adapter(encoder, build_tuner({"class": "Pal", "width": 12}), freeze=True)
    for name, parameter in encoder.named_parameters():
        assert parameter.requires_grad == is_adapter(name, [ADAPTER])


def test_what_is_too_little_is_said_before_training(tmp_path):
    with pytest.raises(ValueError, match="One batch needs 500 different rows"):
        build(tmp_path, stage=STAGES[0], per_device_train_batch_size=500)
    with pytest.raises(ValueError, match="Task 'sst': A group holds two sentences of each of the 5 classes, 10 in all"):
        build(tmp_path, stage=STAGES[1], per_device_train_batch_size=8)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, monkeypatch):
    trainer = build(tmp_path, **options(STAGES[0]))
    monkeypatch.setattr(trainer.loss, "scale", math.nan)
    with pytest.raises(RuntimeError, match="The loss is not a number at step 1"):
        trainer.train()
