import pytest
import torch
from batches import step
from training_runs import build as trainer_of
from transformers import AutoModel, TrainerCallback

from hf_multitask.regularizers import BetaSchedule, Bregman, build_regularizer

KEY = {"seed": 0, "step": 0}
QUIET = {"schedule": {"class": "RoundRobin"}, "eval_strategy": "no", "save_strategy": "no"}
QUIET |= {"load_best_model_at_end": False, "max_steps": 12}
PAL = {"class": "Pal", "width": 12, "heads": 3}


class Weights(TrainerCallback):
    """The weights that train, in double precision, before training and after each update."""

    def __init__(self):
        self.seen = []

    def take(self, args, state, control, model=None, **kwargs):
        kept = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.seen.append({name: weight.detach().double().clone() for name, weight in kept.items()})

    on_train_begin = on_optimizer_step = take


def trained(folder, **options):
    """A trainer after its training, its Bregman and the weights that it went through."""
    spec = {key: options.pop(key) for key in ("tuner", "frozen", "gradient_accumulation_steps") if key in options}
    trainer = trainer_of(folder, **QUIET, **spec, regularizers=[{"class": "Bregman", **options}])
    trainer.add_callback(weights := Weights())
    trainer.train()
    return trainer, trainer.penalties.members["bregman"], weights.seen


@pytest.mark.parametrize(
    "spec", [{}, {"gradient_accumulation_steps": 2}, {"tuner": PAL, "frozen": True}, {"tuner": PAL}, {"frozen": True}]
)
def test_the_teacher_is_the_average_over_updates_of_the_weights_that_train(spec, tmp_path):
    beta = {"class": "BetaSchedule", "start": 0.5, "end": 0.9, "after": 0.4}
    _, bregman, seen = trained(tmp_path, beta=beta, **spec)
    assert len(seen) == 13
    assert bregman.teacher.keys() == seen[0].keys()
    assert all("pooler" not in name for name in bregman.teacher)
    for name, found in bregman.teacher.items():
        want = seen[0][name]
        for update, weights in enumerate(seen[1:], start=1):
            momentum = 0.5 if update <= 4 else 0.9
            want = momentum * want + (1 - momentum) * weights[name]
        torch.testing.assert_close(found.double(), want, atol=1e-6, rtol=0)


def test_without_momentum_the_teacher_is_one_update_behind(tmp_path):
    _, bregman, seen = trained(tmp_path, momentum=False)
    for name, found in bregman.teacher.items():
        assert torch.equal(found.double(), seen[-2][name])


def test_the_papers_schedule():
    beta = Bregman().beta
    assert [beta(update, 200) for update in (1, 20, 21, 200)] == [0.99, 0.99, 0.999, 0.999]
    assert [Bregman(beta=0.9).beta(update, 200) for update in (1, 200)] == [0.9, 0.9]
    assert vars(Bregman(beta={"class": "BetaSchedule", "after": 0.5}).beta) == vars(BetaSchedule(after=0.5))


@pytest.mark.parametrize("momentum", [True, False])
def test_its_description_builds_it_again(momentum):
    bregman = Bregman(2.0, beta=0.8 if momentum else None, momentum=momentum, every=3)
    assert build_regularizer(bregman.describe()).describe() == bregman.describe()


@pytest.mark.parametrize("tuner", [None, "pal", "lora"])
@pytest.mark.parametrize("trunk", ["minbert", "roberta"])
def test_the_penalty_is_the_divergence_from_another_model_with_the_teachers_weights(trunk, tuner, build, one_pass):
    model, other = (build(trunk=trunk, tuner=tuner, dropout=0.2) for _ in range(2))
    bregman = Bregman()
    for weight in model.parameters():
        weight.data.mul_(0.9)
    bregman.begin(other)
    replay, scores = one_pass(model)
    modes = [module.training for module in model.modules()]
    rows, _ = bregman(replay, scores, **KEY)
    assert [module.training for module in model.modules()] == modes
    taught = other.eval()(**step(other, scores)).scores
    for name, found in rows.items():
        assert found.min() > 0
        torch.testing.assert_close(found, model.objectives[name].divergence(scores[name], taught[name]))
    torch.cat(list(rows.values())).sum().backward()
    assert any(weight.grad is not None for weight in model.parameters())
    assert all(weight.grad is None for weight in bregman.teacher.values())


def test_it_begins_at_nothing(build, one_pass):
    replay, scores = one_pass(build())
    bregman = Bregman()
    bregman.begin(replay.model)
    assert all((found == 0).all() for found in bregman(replay, scores, **KEY)[0].values())


@pytest.mark.parametrize("spec", [{}, {"tuner": PAL}, {"frozen": True}])
def test_the_teacher_is_saved_as_a_model(spec, tmp_path):
    trainer, bregman, _ = trained(tmp_path, beta=0.8, save_teacher=True, **spec)
    loaded = AutoModel.from_pretrained(tmp_path / "teacher")
    weights = dict(loaded.named_parameters())
    mine = dict(trainer.model.named_parameters())
    assert weights.keys() == mine.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, bregman.teacher.get(name, mine[name])), name
    assert loaded.predict("sst", ["good film"]).labels


def test_a_teacher_of_other_weights_is_refused(build):
    bregman, other = Bregman(), Bregman()
    bregman.begin(build())
    other.begin(build(tuner="pal"))
    with pytest.raises(ValueError, match=r"averages other weights than the ones that train now: .* more differ"):
        bregman.restore(other.state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 1.5}, r"start of BetaSchedule must be between 0 and 1. Got 1.5"),
        ({"beta": {"class": "Beta"}}, r"Unknown beta 'Beta'. Choices: BetaSchedule"),
        ({"beta": 0.9, "momentum": False}, r"Bregman without momentum has no beta"),
        ({"weight": float("nan")}, r"weight of Bregman must be 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Bregman(**options)
