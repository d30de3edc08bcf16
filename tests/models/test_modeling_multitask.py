import dataclasses
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from batches import FIRST, SECOND, step
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    ElectraConfig,
    FNetConfig,
    FNetModel,
    GPT2Config,
    GPT2Model,
    ModernBertConfig,
    RobertaConfig,
)

from hf_multitask import QQP, SST, STS, CosineEmbedding, MinBertModel, MultitaskConfig, MultitaskModel, Task
from hf_multitask.models.encoding import Encoded, Texts, flatten

PAIRS = {
    "cosine": dataclasses.replace(STS, name="cosine", head={"class": "Cosine"}),
    "concat": dataclasses.replace(QQP, name="concat", head={"class": "Concat", "features": ["u", "v", "|u-v|"]}),
    "bare": Task(
        "bare", CosineEmbedding(0, 5), pair=True, metric="pearson", head={"class": "Cosine", "learned": False}
    ),
}
SIZES = {"vocab_size": 30, "hidden_size": 16, "num_attention_heads": 4, "max_position_embeddings": 64}


@pytest.fixture
def every(small, tokenizer):
    """Every kind of task at once: single, cross-encoded, and encoded apart three ways."""
    tasks = {t.name: t.describe() for t in (SST, QQP, STS, *PAIRS.values())}
    model = MultitaskModel(MultitaskConfig(trunk=small, tasks=tasks, dropout=0.0))
    model.tokenizer = tokenizer
    return model.eval()


def test_one_pass_for_all_tasks_equals_a_pass_for_each(every):
    together = every(**step(every, every.config.tasks)).scores
    for name in every.config.tasks:
        torch.testing.assert_close(together[name], every(**step(every, [name])).scores[name])


def test_the_trunk_runs_once_a_step(every):
    passes = []
    every.trunk.register_forward_hook(lambda *_: passes.append(1))
    every(**step(every, every.config.tasks))
    assert len(passes) == 1


@pytest.mark.parametrize("pooling", ["cls", "mean", "pooler"])
def test_pooling_equals_that_of_bert(small, tokenizer, pooling):
    tasks = {"sst": SST.describe()}
    model = MultitaskModel(MultitaskConfig(trunk=small, tasks=tasks, pooling=pooling)).eval()
    bert = BertModel(
        BertConfig(**{k: v for k, v in small.to_dict().items() if k not in ("model_type", "unpad")})
    ).eval()
    bert.load_state_dict(model.trunk.state_dict(), strict=False)
    padded = tokenizer(FIRST, padding=True, return_tensors="pt")
    output, mask = bert(**padded), padded["attention_mask"][..., None]
    want = {
        "cls": output.last_hidden_state[:, 0],
        "mean": (output.last_hidden_state * mask).sum(1) / mask.sum(1),
        "pooler": output.pooler_output,
    }[pooling]
    model.tokenizer = tokenizer
    got = model(**step(model, ["sst"])).scores["sst"]
    torch.testing.assert_close(got, model.heads["sst"](want), atol=1e-5, rtol=1e-5)


def test_weighted_losses_equal_a_loop(every):
    batch = step(every, ["sst", "cosine"])
    labels = {"sst": torch.tensor([0, 4, 2, 1]), "cosine": torch.tensor([0.0, 2.5, 5.0, 1.0])}
    plain = every(**batch, labels=labels)
    for name, loss in plain.losses.items():
        each = every.objectives[name].loss(plain.scores[name], labels[name])
        torch.testing.assert_close(loss, each.mean())
    torch.testing.assert_close(plain.loss, sum(plain.losses.values()))
    weights = {name: torch.tensor([0.5, 0.0, 0.25, 0.25]) for name in labels}
    weighted = every(**batch, labels=labels, weights=weights)
    for name, loss in weighted.losses.items():
        each = every.objectives[name].loss(plain.scores[name], labels[name])
        torch.testing.assert_close(loss, (each * weights[name]).sum())


def test_certain_soft_labels_cost_what_labels_cost(every):
    batch = step(every, ["sst"])
    hard = torch.tensor([0, 4, 2, 1])
    soft = torch.nn.functional.one_hot(hard, 5).float()
    torch.testing.assert_close(every(**batch, labels={"sst": soft}).loss, every(**batch, labels={"sst": hard}).loss)


def test_the_mean_is_one_in_half_precision_too(every):
    batch, labels = step(every, ["sst"]), torch.tensor([0, 4, 2, 1])
    three = {**batch, "rows": {"sst": batch["rows"]["sst"][:3]}}
    with torch.autocast("cpu", torch.bfloat16):
        found = every(**three, labels={"sst": labels[:3]})
    each = every.objectives["sst"].loss(found.scores["sst"].float(), labels[:3])
    torch.testing.assert_close(found.loss, each.mean())


@pytest.mark.parametrize("apart", [False, True])
def test_heads_score_in_single_precision_whatever_the_trunk_computes_in(small, tokenizer, apart):
    head = {"class": "Cosine" if apart else "MLP"}
    model = MultitaskModel(MultitaskConfig(trunk=small, tasks={"sts": {**STS.describe(), "head": head}}, max_length=32))
    model.tokenizer = tokenizer
    with torch.autocast("cpu", torch.bfloat16):
        scores = model.predict("sts", FIRST, SECOND).scores
        direct = model(**step(model, ["sts"])).scores["sts"]
    assert direct.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())
    model.to(torch.bfloat16)
    assert model(**step(model, ["sts"])).scores["sts"].dtype == torch.bfloat16


def test_a_trunk_in_half_precision_is_trained_in_single(every, tmp_path):
    every.to(torch.bfloat16).save_pretrained(tmp_path)
    model = MultitaskModel.from_trunk(tmp_path, {"sst": SST.describe()})
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_more_words_than_before(every, tmp_path):
    every.resize_token_embeddings(41)
    every.save_pretrained(tmp_path)
    assert len(AutoModel.from_pretrained(tmp_path).get_input_embeddings().weight) == 41


def test_no_pooler_and_too_long_a_text_are_sentences(every, small, tokenizer, tmp_path):
    every.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"this trunk has no pooler\. Take mean or cls\."):
        MultitaskModel.from_trunk(tmp_path, {"sst": SST.describe()}, pooling="pooler")
    config = MultitaskConfig(trunk=small, tasks={"sst": SST.describe()}, max_length=4 * small.max_position_embeddings)
    model = MultitaskModel(config)
    model.tokenizer = tokenizer
    with pytest.raises(ValueError, match=f"may have {small.max_position_embeddings} tokens at most"):
        model.predict("sst", ["cat " * 2 * small.max_position_embeddings])


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_predict_keeps_the_order_of_its_rows(every, batch_size):
    for name, task in every.config.tasks.items():
        second = SECOND if task["pair"] else None
        got = every.predict(name, FIRST, second, batch_size=batch_size).scores
        torch.testing.assert_close(got, every(**step(every, [name])).scores[name].detach())


def test_texts_are_tokenized_once_for_all_who_read_them_alike(every):
    texts = Texts(FIRST, SECOND)
    for name in ("qqp", "sts", "cosine", "concat"):
        torch.testing.assert_close(every.answer(name, texts), every.predict(name, FIRST, SECOND).scores)
    assert len(texts.readings) == 2


@pytest.mark.parametrize("column", [pd.Series, np.array, tuple])
def test_texts_may_be_a_column(every, column):
    for name in ("qqp", "cosine"):
        found = every.predict(name, column(FIRST), column(SECOND)).scores
        torch.testing.assert_close(found, every.predict(name, FIRST, SECOND).scores)


def test_predict_answers_nothing_with_nothing_and_leaves_training_mode_alone(every):
    every.train()
    assert every.predict("sst", []).values.shape == (0,)
    assert every.predict("qqp", FIRST, SECOND).labels[0] in ("different", "duplicate")
    assert every.training


def test_saved_and_loaded_in_a_new_process_it_gives_identical_scores(every, tmp_path):
    every.save_pretrained(tmp_path / "model")
    torch.save(
        {n: every.predict(n, FIRST, SECOND if t["pair"] else None).scores for n, t in every.tasks.items()},
        tmp_path / "scores",
    )
    code = f"""
import sys, torch, hf_multitask
from transformers import AutoModel
model = AutoModel.from_pretrained({str(tmp_path / "model")!r})
for name, want in torch.load({str(tmp_path / "scores")!r}).items():
    second = {SECOND!r} if model.tasks[name]["pair"] else None
    assert torch.equal(model.predict(name, {FIRST!r}, second).scores, want), name
print(type(model).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.stdout.strip() == "MultitaskModel", done.stderr


@pytest.mark.parametrize(
    "config",
    [
        BertConfig(**SIZES, intermediate_size=32, num_hidden_layers=2),
        RobertaConfig(**SIZES, intermediate_size=32, num_hidden_layers=2, pad_token_id=0, type_vocab_size=1),
        ElectraConfig(**SIZES, intermediate_size=32, num_hidden_layers=2, embedding_size=8),
        ModernBertConfig(
            **SIZES, intermediate_size=32, num_hidden_layers=2, pad_token_id=0, cls_token_id=2, sep_token_id=3
        ),
        DistilBertConfig(vocab_size=30, dim=16, hidden_dim=32, n_layers=2, n_heads=4, max_position_embeddings=64),
    ],
    ids=lambda c: c.model_type,
)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_any_encoder_is_a_trunk(config, pooling, tokenizer, tmp_path):
    AutoModel.from_config(config).save_pretrained(tmp_path / "trunk")
    tokenizer.save_pretrained(tmp_path / "trunk")
    tasks = {"sst": SST.describe(), "qqp": QQP.describe()}
    model = MultitaskModel.from_trunk(tmp_path / "trunk", tasks, pooling=pooling).eval()
    assert isinstance(model.trunk, MinBertModel) == (config.model_type == "bert")
    if (
        "token_type_ids" not in AutoModel.from_config(config).forward.__code__.co_varnames
        or config.model_type == "roberta"
    ):
        model.tokenizer.model_input_names = ["input_ids", "attention_mask"]
    alone = model.predict("qqp", FIRST, SECOND, batch_size=1).scores
    torch.testing.assert_close(model.predict("qqp", FIRST, SECOND).scores, alone, atol=1e-5, rtol=1e-4)
    model.save_pretrained(tmp_path / "saved")
    loaded = AutoModel.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(
        loaded(**step(loaded, ["sst"])).scores["sst"], model(**step(model, ["sst"])).scores["sst"]
    )
    assert AutoConfig.from_pretrained(tmp_path / "saved").trunk.model_type in (config.model_type, "minbert")


def test_the_trunk_of_a_multitask_model_is_a_trunk(every, tmp_path):
    every.save_pretrained(tmp_path)
    again = MultitaskModel.from_trunk(tmp_path, {"sst": SST.describe()})
    for (name, mine), other in zip(again.trunk.named_parameters(), every.trunk.parameters(), strict=True):
        assert torch.equal(mine, other), name
    assert again.predict("sst", FIRST).scores.shape == (4, 5)


def test_a_frozen_trunk_stays_as_it_is(small, tokenizer, tmp_path):
    small.hidden_dropout_prob = 0.5
    model = MultitaskModel(MultitaskConfig(trunk=small, tasks={"sst": SST.describe()}, freeze_trunk=True))
    model.tokenizer = tokenizer
    model.train()
    batch = {**step(model, ["sst"]), "labels": {"sst": torch.tensor([0, 1, 2, 3])}}
    model(**batch).loss.backward()
    assert all(p.grad is None for p in model.trunk.parameters())
    assert all(p.grad is not None for p in model.heads.parameters())
    assert not model.trunk.training
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert not any(p.requires_grad for p in loaded.trunk.parameters())
    loaded.freeze_trunk(False)
    assert all(p.requires_grad for p in loaded.parameters())


def test_gradient_checkpointing_reaches_the_trunk(every):
    batch = {**step(every, ["sst", "qqp"]), "labels": {"sst": torch.arange(4), "qqp": torch.tensor([0, 1, 0, 1])}}
    every.train()
    grads = []
    for enable in (False, True):
        if enable:
            every.activation_checkpointing_enable()
        every.zero_grad()
        every(**batch).loss.backward()
        grads.append([p.grad.clone() for p in every.trunk.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementation_reaches_the_trunk(every, tmp_path, attention):
    every.save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path, attn_implementation=attention)
    assert model.trunk.config._attn_implementation == attention
    torch.testing.assert_close(model.predict("sst", FIRST).scores, every.predict("sst", FIRST).scores)


def test_attention_may_be_changed_later(every):
    before = every.predict("sst", FIRST).scores
    every.set_attn_implementation("eager")
    assert every.trunk.config._attn_implementation == "eager"
    torch.testing.assert_close(every.predict("sst", FIRST).scores, before)


def test_refuses_what_is_no_encoder(tmp_path):
    GPT2Model(GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a 'gpt2'"):
        MultitaskModel.from_trunk(tmp_path, {"sst": SST.describe()})


def test_refuses_what_cannot_tell_texts_from_padding(tmp_path):
    config = FNetConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, intermediate_size=32)
    FNetModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a 'fnet', which cannot"):
        MultitaskModel.from_trunk(tmp_path, {"sst": SST.describe()})


def test_refuses_weights_of_another_model(small, tmp_path):
    GPT2Model(GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    small.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"lacks weights of a 'minbert' encoder: .* and \d+ more"):
        MultitaskModel.from_trunk(tmp_path, {"sst": SST.describe()})


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda m: m.predict("qpq", ["a"]), "Did you mean 'qqp'"),
        (lambda m: m.predict("qqp", ["a"]), "reads two texts a row. Got one"),
        (lambda m: m.predict("sst", ["a"], ["b"]), "reads one text a row. Got two"),
        (lambda m: m.predict("qqp", ["a", "b"], ["c"]), "Got 2 and 1 texts"),
        (lambda m: m.predict("sst", "a film"), "Got one string"),
        (lambda m: m(**flatten(Encoded([[2, 3]])), rows={"none": torch.tensor([0])}), "Unknown task 'none'"),
    ],
)
def test_mistakes_are_named(every, call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call(every)


@pytest.mark.parametrize("name", ["type", "items", "training", "score"])
def test_names_that_pytorch_has_taken_are_refused(small, name):
    for make in (lambda: Task(name, SST.objective), lambda: MultitaskConfig(trunk=small, tasks={name: SST.describe()})):
        with pytest.raises(ValueError, match=f"cannot be called '{name}'"):
            make()


def test_all_faults_of_a_configuration_come_at_once(small):
    tasks = {
        "one": {**SST.describe(), "head": {"class": "Cosine"}},
        "two": {**PAIRS["bare"].describe(), "head": {"class": "Cosine"}},
        "three": {**QQP.describe(), "objective": {"class": "Binray"}},
    }
    with pytest.raises(ValueError, match="cannot be built") as error:
        MultitaskConfig(trunk=small, tasks=tasks, pooling="men")
    for part in ("'mean'", "use Concat", "learned: false", "'Binary'"):
        assert part in str(error.value)


def test_answering_leaves_every_module_in_its_mode(model, monkeypatch):
    model.train()
    model.trunk.encoder.layer[0].eval()
    before = [module.training for module in model.modules()]
    model.predict("sst", ["a good film"])
    assert [module.training for module in model.modules()] == before
    monkeypatch.setattr(model, "read", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.predict("sst", ["a good film"])
    assert [module.training for module in model.modules()] == before
