import math
import signal
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, DynamoBackend
from batches import step
from peft import LoraConfig
from safetensors.torch import load_file
from training_runs import assert_identical, assert_near, build, end_of, ends, start

from hf_multitask.regularizers import REGULARIZERS, Bregman, Follower, Smart, build_regularizer
from hf_multitask.regularizers.noise import uniform
from hf_multitask.trainer import NotFinite
from hf_multitask.training.checkpoints import newest_whole
from hf_multitask.training.penalties import FILE, Penalties

ROUND = {"class": "RoundRobin"}
QUIET = {"schedule": ROUND, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
SAVING = {**QUIET, "save_strategy": "steps", "save_steps": 2, "max_steps": 9, "dropout": 0.1}
# So strong that they decide where the weights go.
SMART = {"class": "Smart", "weight": 5.0, "epsilon": 0.3, "eta": 0.3, "sigma": 0.1}
BREGMAN = {"class": "Bregman", "weight": 20.0, "beta": 0.8}
STRONG = {"Smart": SMART, "Bregman": BREGMAN}
PAL = {"class": "Pal", "width": 12, "heads": 3}
LORA = {"class": "LoraConfig", "r": 4, "lora_alpha": 16}
VARIANTS = {
    "both": [SMART, BREGMAN],
    "mtdnn": [{"class": "Smart", "weight": 0.1, "mode": "mtdnn", "norm": "2", "dropout": "off"}],
    "steps": [{**SMART, "norm": "2", "steps": 2, "every": 2}, {**BREGMAN, "beta": None, "momentum": False}],
    "part": [{**SMART, "fraction": 0.4, "every": 3}, {**BREGMAN, "fraction": 0.4}],
}


def losses(end):
    """Every curve of a run, step by step."""
    return [
        {key: value for key, value in entry.items() if key.startswith(("loss", "smart", "bregman"))}
        for entry in end["history"]
        if "loss" in entry
    ]


def assert_same_curves(one, other, *, within=1e-5):
    for mine, others in zip(losses(one), losses(other), strict=True):
        assert mine.keys() == others.keys()
        for key, value in mine.items():
            assert others[key] == pytest.approx(value, abs=within, rel=within), key


@pytest.mark.parametrize("name", REGULARIZERS)
def test_weight_zero_changes_no_bit(name, tmp_path):
    spec = {**QUIET, "max_steps": 5, "dropout": 0.1}
    plain, zero = (
        end_of(build(tmp_path, **spec, regularizers=specs)) for specs in ([], [{"class": name, "weight": 0.0}])
    )
    assert_identical(plain, zero)
    assert losses(plain) == losses(zero)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_it_changes_what_is_learnt_and_leaves_a_models_answers_alone(name, tmp_path):
    trainers = [build(tmp_path, **QUIET, max_steps=5, regularizers=specs) for specs in ([], [STRONG[name]])]
    plain, other = map(end_of, trainers)
    assert not torch.equal(plain["weights"]["heads.sst.out.weight"], other["weights"]["heads.sst.out.weight"])
    assert losses(plain)[0]["loss_sst"] == losses(other)[0]["loss_sst"]
    assert plain["weights"].keys() == other["weights"].keys()
    batch = step(trainers[1].model, ["sst"])
    assert trainers[1].model(**batch).penalties is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_does_not_depend_on_accumulation(variant, tmp_path):
    spec = {**QUIET, "max_steps": 12, "regularizers": VARIANTS[variant]}
    whole, split = (
        build(tmp_path, **spec, per_device_train_batch_size=8 // micro, gradient_accumulation_steps=micro)
        for micro in (1, 2)
    )
    whole, split = end_of(whole), end_of(split)
    assert_near(whole, split)
    assert_same_curves(whole, split)


def test_two_processes_train_like_one(tmp_path):
    specs = {name: {"regularizers": found} for name, found in VARIANTS.items()}
    specs |= {name: {"regularizers": VARIANTS["both"], "tuner": t} for name, t in (("pal", PAL), ("lora", LORA))}
    specs["frozen"] = {"regularizers": VARIANTS["both"], "tuner": PAL, "frozen": True}
    specs["accumulation"] = {"regularizers": VARIANTS["both"], "per_device_train_batch_size": 2}
    specs["accumulation"] |= {"gradient_accumulation_steps": 2}
    specs["pcgrad"] = {"regularizers": VARIANTS["both"], "aggregator": {"class": "PCGrad"}}
    specs["cycle"] = {"regularizers": VARIANTS["both"], "schedule": {"class": "Cycle"}}
    base = {**QUIET, "max_steps": 12}
    two = [{**base, "per_device_train_batch_size": 4, **s, "output_dir": str(tmp_path / n)} for n, s in specs.items()]
    for (name, spec), found in zip(specs.items(), ends(tmp_path, *two, processes=2), strict=True):
        rows = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
        one = end_of(build(**{**base, **spec, **rows, "output_dir": tmp_path / "one" / name}))
        assert_near(one, found)
        assert_same_curves(one, found)


def test_a_regularized_step_is_the_same_for_summed_losses_and_summed_gradients(tmp_path):
    spec = {**QUIET, "optim": "sgd", "max_steps": 6, "learning_rate": 0.1, "regularizers": VARIANTS["both"]}
    plain, summed = (end_of(build(tmp_path, **spec, aggregator=a)) for a in (None, {"class": "Sum"}))
    assert_near(plain, summed)
    assert_same_curves(plain, summed)


@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_and_resumed_it_ends_where_the_uninterrupted_run_ends(variant, tmp_path):
    spec = {**SAVING, "regularizers": VARIANTS[variant]}
    cut = {**spec, "output_dir": str(tmp_path / "cut")}
    assert start(tmp_path, {**cut, "kill_at": 5}).returncode == -signal.SIGKILL
    whole, again = build(tmp_path / "whole", **spec), build(**cut)
    assert_identical(end_of(whole), end_of(again, resume=True))
    for one, other in zip(whole.penalties.followers, again.penalties.followers, strict=True):
        torch.testing.assert_close(one.state(), other.state(), atol=0, rtol=0)


def test_two_processes_resume_with_adapters_under_regularizers(tmp_path):
    spec = {**SAVING, "tuner": PAL, "regularizers": VARIANTS["both"], "per_device_train_batch_size": 4}
    whole, cut = ({**spec, "output_dir": str(tmp_path / name)} for name in ("whole", "cut"))
    assert start(tmp_path, {**cut, "kill_at": 5}, processes=2).returncode != 0
    one, other = ends(tmp_path, whole, {**cut, "resume": True}, processes=2)
    assert_identical(one, other)


def test_the_loss_holds_every_penalty_with_its_weight(tmp_path):
    trainer = build(tmp_path, **QUIET, max_steps=4, regularizers=VARIANTS["both"])
    trainer.weights = {"sst": 2.0, "qqp": 0.5, "sts": 1.0}
    for entry in losses(end_of(trainer)):
        parts = {name: sum(entry[f"{key}_{name}"] for key in ("loss", "smart", "bregman")) for name in trainer.names}
        assert entry["loss"] == pytest.approx(sum(trainer.weights[n] * part for n, part in parts.items()), rel=1e-5)
        assert 0 < entry["smart_cosine"] <= 1
        assert entry["smart_ratio"] > 0


def test_one_of_three_steps_counts_threefold(tmp_path):
    spec = {**QUIET, "max_steps": 6, "learning_rate": 0.0}
    each, third = (
        losses(end_of(build(tmp_path, **spec, regularizers=[{**SMART, "every": every}]))) for every in (1, 3)
    )
    acting = [number for number, entry in enumerate(third) if "smart_sst" in entry]
    assert [number // 3 for number in acting] == [0, 1]
    for number in acting:
        assert third[number]["smart_sst"] == pytest.approx(each[number]["smart_sst"])
        extra = third[number]["loss"] - sum(third[number][f"loss_{name}"] for name in ("sst", "qqp", "sts"))
        assert extra == pytest.approx(
            3 * sum(each[number][f"smart_{name}"] for name in ("sst", "qqp", "sts")), rel=1e-3
        )


def test_tasks_that_take_turns_meet_it_equally_often(model):
    host = Penalties([Smart(every=3)], model, tasks=model.tasks, accelerator=Accelerator(cpu=True), seed=0)
    acting = []
    for host.step in range(900):
        if host.due:
            acting.append(host.step)
    assert [step // 3 for step in acting] == list(range(300))
    assert all(80 < sum(step % 3 == turn for step in acting) < 120 for turn in range(3))


@pytest.mark.parametrize("spec", [SMART, {**SMART, "dropout": "off"}, BREGMAN], ids=["shared", "off", "bregman"])
def test_a_fraction_is_of_the_rows_that_are_drawn_and_stands_for_all(spec, model):
    whole, part = (build_regularizer({**spec, "fraction": fraction}) for fraction in (1.0, 0.4))
    host = Penalties([part], model, tasks=model.tasks, accelerator=Accelerator(cpu=True), seed=0)
    for member in (whole, part):
        if isinstance(member, Follower):
            member.begin(model)
    for weight in model.parameters():
        weight.data.mul_(3)
    batch, counts = step(model, ["sst", "qqp"]), []
    labels = {name: torch.tensor([0, 1, 0, 1]) for name in ("sst", "qqp")}
    for host.step in range(12):
        seen = {}

        def both(replay, scores, weights, seen=seen):
            seen["rows"], _ = whole(replay, scores, seed=0, step=host.step)
            seen["lots"] = uniform(replay.batch, seed=0, step=host.step)
            return host(replay, scores, weights)

        output = model(**batch, labels=labels, regularize=both)
        for name, rows in seen["rows"].items():
            drawn = seen["lots"][batch["rows"][name]] < 0.4
            want = spec["weight"] * (rows * drawn).sum() / 4 / 0.4
            torch.testing.assert_close(output.penalties[name], want, rtol=1e-4, atol=1e-6)
            counts.append(drawn.sum().item())
    assert 0 in counts
    assert max(counts) > 1


@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_penalty_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint(name, tmp_path, monkeypatch):
    spec = {**QUIET, "save_strategy": "steps", "save_steps": 2}
    trainer = build(tmp_path, **spec, regularizers=[STRONG[name]])
    call = REGULARIZERS[name].__call__

    def spoilt(self, replay, scores, *, seed, step):
        rows, measures = call(self, replay, scores, seed=seed, step=step)
        if step == 4:
            rows["sts"] = rows["sts"].index_fill(0, torch.tensor([3, 5]), math.nan)
        return rows, measures

    monkeypatch.setattr(REGULARIZERS[name], "__call__", spoilt)
    message = rf"{name}'s penalty of sts, in 2 of 8 rows such as '\[CLS\] .* \[SEP\]', is not a number at step 5\."
    with pytest.raises(NotFinite, match=message + r".*checkpoint-4\.$"):
        trainer.train()
    assert newest_whole(tmp_path).name == "checkpoint-4"


def test_a_loss_that_is_no_number_is_not_blamed_on_a_penalty(tmp_path):
    trainer = build(tmp_path, **QUIET, regularizers=[SMART])
    trainer.model.heads["qqp"].out.bias.data.fill_(math.nan)
    with pytest.raises(NotFinite, match=r"^The loss of qqp is not a number at step 1"):
        trainer.train()


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "hf_multitask.training.penalties"]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ([], [SMART], ["Smart is new: it begins now"]),
        ([], [BREGMAN], ["Bregman is new: it begins now, from the checkpoint's weights."]),
        ([SMART, BREGMAN], [SMART], ["Bregman is gone: training goes on without it."]),
        ([SMART], [BREGMAN], ["Bregman is new", "Smart is gone"]),
        ([SMART], [{**SMART, "weight": 1.0}], ["weight of Smart was 5.0, and is 1.0."]),
        ([SMART, BREGMAN], [BREGMAN, SMART], []),
        ([], [], []),
    ],
)
def test_resuming_with_other_regularizers_is_said(before, after, words, tmp_path, caplog):
    build(tmp_path, **{**SAVING, "max_steps": 4}, regularizers=before).train()
    caplog.clear()
    build(tmp_path, **SAVING, regularizers=after).train(resume_from_checkpoint=True)
    found = " ".join(said(caplog))
    assert all(word in found for word in words)
    assert bool(words) == bool(found)
    if words:
        assert f"not those of the run that left {tmp_path / 'checkpoint-4'}" in found


def test_a_new_teacher_begins_at_the_checkpoint(tmp_path):
    build(tmp_path, **{**SAVING, "max_steps": 4}).train()
    weights = load_file(tmp_path / "checkpoint-4" / "model.safetensors")
    trainer = build(tmp_path, **SAVING, regularizers=[{"class": "Bregman", "beta": 1.0}])
    trainer.train(resume_from_checkpoint=True)
    for name, weight in trainer.penalties.followers[0].teacher.items():
        assert torch.equal(weight, weights[name]), name


def test_a_checkpoint_may_be_a_path(tmp_path):
    build(tmp_path, **{**SAVING, "max_steps": 4}, regularizers=[BREGMAN]).train()
    named, path = (build(tmp_path, **{**SAVING, "max_steps": 5}, regularizers=[BREGMAN]) for _ in range(2))
    named.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    path.train(resume_from_checkpoint=tmp_path / "checkpoint-4")
    for name, weight in named.penalties.followers[0].teacher.items():
        assert torch.equal(weight, path.penalties.followers[0].teacher[name]), name


def test_a_teacher_of_other_weights_is_refused_at_resuming(tmp_path):
    spec = {**SAVING, "regularizers": [BREGMAN], "tuner": PAL}
    build(tmp_path, **{**spec, "max_steps": 4}).train()
    trainer = build(tmp_path, **spec)
    trainer.model.get_input_embeddings().weight.requires_grad_(False)
    trainer.penalties.start(str(tmp_path / "checkpoint-4"))
    with pytest.raises(ValueError, match=r"averages other weights than the ones that train now"):
        trainer.penalties.on_train_begin(None, trainer.state, None, model=trainer.model)


def test_checkpoints_hold_no_more_than_there_is(tmp_path):
    build(tmp_path, **{**SAVING, "max_steps": 2}).train()
    assert not (tmp_path / "checkpoint-2" / FILE).exists()
    build(tmp_path / "smart", **{**SAVING, "max_steps": 2}, regularizers=[SMART]).train()
    assert (tmp_path / "smart" / "checkpoint-2" / FILE).stat().st_size < 1000


@pytest.mark.parametrize(("epsilon", "faint"), [(1e-5, True), (0.3, False)])
def test_a_penalty_that_is_hardly_there_is_named_once(epsilon, faint, tmp_path, caplog):
    spec = {**QUIET, "max_steps": 130, "logging_steps": 7, "learning_rate": 0.0}
    trainer = build(tmp_path, **spec, regularizers=[{**SMART, "weight": 100.0, "epsilon": epsilon}])
    trainer.train()
    want = "Smart's penalty of sst, qqp, sts was below a thousandth of the loss in the first 105 steps"
    assert [text[: len(want)] for text in said(caplog)] == [want] * faint


@pytest.mark.parametrize(
    ("options", "doubted"),
    [
        ({}, True),
        ({"epsilon": 1e-3}, False),
        ({"epsilon": 1e-3, "norm": "2"}, True),
        ({"mode": "mtdnn"}, False),
        ({"weight": 0.0}, False),
    ],
)
def test_half_precision_that_drowns_the_perturbation_is_doubted(options, doubted, tmp_path, caplog):
    trainer = build(tmp_path, **QUIET, max_steps=3, bf16=True, regularizers=[{"class": "Smart", **options}])
    assert [("which bf16 rounds away" in text) for text in said(caplog)] == [True] * doubted
    assert all(math.isfinite(value) for entry in losses(end_of(trainer)) for value in entry.values())


# Whatever enters a graph is asked for its gradient by torch's compiler.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compiled_it_trains_the_same(tmp_path):
    # Compiled, torch's own dropout draws otherwise.
    spec = {**QUIET, "max_steps": 4, "dropout": 0.0, "regularizers": [{**SMART, "dropout": "off"}, BREGMAN]}
    plain, compiled = (
        end_of(build(tmp_path, **spec, **flags))
        for flags in ({}, {"torch_compile": True, "torch_compile_backend": "eager"})
    )
    assert_near(plain, compiled)


def test_activation_checkpointing_trains_the_same(tmp_path):
    spec = {**QUIET, "max_steps": 4, "dropout": 0.1, "regularizers": VARIANTS["both"]}
    plain, saving = (end_of(build(tmp_path, **spec, activation_checkpointing=flag)) for flag in (False, True))
    assert_near(plain, saving)


def stub(**options):
    plugin = SimpleNamespace(backend=options.pop("backend", DynamoBackend.NO))
    state = SimpleNamespace(dynamo_plugin=plugin, deepspeed_plugin=SimpleNamespace(zero_stage=options.pop("stage", 0)))
    kind = options.pop("kind", DistributedType.NO)
    return SimpleNamespace(distributed_type=kind, mixed_precision="no", is_main_process=True, state=state)


@pytest.mark.parametrize(
    ("members", "options", "message"),
    [
        ([Smart(), Smart(1.0)], {}, r"Regularizer Smart is there 2 times"),
        ([Bregman()], {"kind": DistributedType.FSDP}, r"Bregman averages the weights.*ZeRO-1 or 2"),
        ([Bregman()], {"kind": DistributedType.DEEPSPEED, "stage": 3}, r"Bregman averages the weights"),
        ([Smart()], {"backend": DynamoBackend.INDUCTOR}, r"Set the regularizer's dropout to off"),
    ],
)
def test_what_cannot_work_is_refused(members, options, message, model):
    with pytest.raises(ValueError, match=message):
        Penalties(members, model, tasks=["sst"], accelerator=stub(**options), seed=0)


@pytest.mark.parametrize(
    ("members", "options"),
    [
        ([Bregman()], {"kind": DistributedType.DEEPSPEED, "stage": 2}),
        ([Bregman()], {"backend": DynamoBackend.INDUCTOR}),
        ([Smart(dropout="off")], {"backend": DynamoBackend.INDUCTOR}),
    ],
)
def test_what_can_work_is_not(members, options, model):
    assert Penalties(members, model, tasks=["sst"], accelerator=stub(**options), seed=0).members


def test_adapters_on_the_embeddings_are_refused(model):
    model.add_adapters(LoraConfig(r=2, target_modules=["word_embeddings"]))
    with pytest.raises(ValueError, match=r"Leave the embeddings out of the tuner's target_modules"):
        Penalties([Smart()], model, tasks=["sst"], accelerator=stub(), seed=0)
