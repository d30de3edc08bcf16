import pytest
import torch
from batches import step

from hf_multitask.models.batch import Batch
from hf_multitask.models.replay import Replay


def replay_of(model):
    return Replay(model, Batch.of(**step(model, model.config.tasks)))


def noisy(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    return model.train()


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "drawn again"])
def test_it_draws_what_the_first_pass_drew(model, kept):
    replay = replay_of(noisy(model))
    first = replay.first() if kept else model.read(replay.batch)
    words = model.get_input_embeddings()(replay.batch.input_ids)
    for again in (replay(), replay(words)):
        assert all(torch.equal(again[name], score) for name, score in first.items())
    assert not torch.equal(model.read(replay.batch)["sst"], first["sst"])


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "drawn again"])
def test_later_draws_are_undisturbed(model, kept):
    replay = replay_of(noisy(model))
    replay.first() if kept else model.read(replay.batch)
    before = torch.get_rng_state()
    replay()
    assert torch.equal(torch.get_rng_state(), before)


def test_what_else_draws_between_is_repeated_too(model):
    model = noisy(model)
    model.trunk.encoder.layer[0].output.dropout = torch.nn.Dropout(0.3)
    replay = replay_of(model)
    first = replay.first()
    assert all(torch.equal(replay()[name], score) for name, score in first.items())


def test_checkpointing_computes_a_repeat_again_with_the_same_draws(model):
    def gradients():
        torch.manual_seed(0)
        replay = replay_of(noisy(model))
        scores = replay.first()["sst"].sum() + replay()["sst"].square().sum()
        return torch.autograd.grad(scores, list(model.trunk.encoder.parameters()))

    whole = gradients()
    model.activation_checkpointing_enable()
    for one, other in zip(gradients(), whole, strict=True):
        torch.testing.assert_close(one, other)


def test_forward_adds_the_penalties(model):
    batch = step(model, ["sst", "qqp"])
    labels = {name: torch.tensor([0, 1, 0, 1]) for name in ("sst", "qqp")}
    seen = []

    def regularize(replay, scores, weights):
        seen.append((replay.batch.rows.keys(), weights["sst"].tolist()))
        return {"sst": scores["sst"].square().sum()}

    plain = model(**batch, labels=labels)
    output = model(**batch, labels=labels, regularize=regularize)
    assert seen == [({"sst", "qqp"}, [0.25] * 4)]
    assert plain.penalties is None
    torch.testing.assert_close(output.loss, plain.loss + output.penalties["sst"])
