import dataclasses
import sys
from threading import Thread

import pytest
import torch
from batches import FIRST, SECOND, step
from peft import AutoPeftModel, LoraConfig, PeftModel
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, BertConfig, BertModel, ElectraConfig, ModernBertConfig, RobertaConfig

from hf_multitask import QQP, SST, STS, MultitaskConfig, MultitaskModel, PalConfig
from hf_multitask.models.batch import Batch
from hf_multitask.tuners.methods import TUNERS, build_tuner

# PEFT 0.21 asks transformers by an old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

SIZES = {"vocab_size": 30, "hidden_size": 16, "num_attention_heads": 4, "max_position_embeddings": 64}
APART = dataclasses.replace(STS, head={"class": "Cosine"})
TASKS = {task.name: task.describe() for task in (SST, QQP, APART)}
TRUNKS = {
    "minbert": None,
    "roberta": RobertaConfig(**SIZES, intermediate_size=32, num_hidden_layers=2, hidden_dropout_prob=0.0),
    "electra": ElectraConfig(**SIZES, embedding_size=16, intermediate_size=32, num_hidden_layers=2),
}
# Initial weights that change what the trunk gives; and PEFT's own defaults for the rest.
PAL = {"class": "Pal", "width": 12, "heads": 3, "init_weights": False}
LORA = {"class": "LoraConfig", "r": 4, "init_lora_weights": False}


def build(small, tokenizer, spec, trunk="minbert", **options):
    torch.manual_seed(0)
    config = MultitaskConfig(trunk=TRUNKS[trunk] or small, tasks=TASKS, dropout=0.0, **options)
    model = MultitaskModel(config)
    model.tokenizer = tokenizer
    if spec is not None:
        model.add_adapters(build_tuner(spec))
    return model


def labelled(model, names):
    batch = step(model, names)
    labels = {name: torch.arange(len(FIRST)) % 2 for name in names}
    return {**batch, "labels": {n: v.float() if n == "sts" else v for n, v in labels.items()}}


def gradients(model, batch):
    model.zero_grad()
    output = model(**batch)
    output.loss.backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return output, grads


@pytest.mark.parametrize("spec", [PAL, LORA], ids=["pal", "lora"])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_step_of_three_tasks_equals_three_steps(small, tokenizer, spec, trunk):
    model = build(small, tokenizer, spec, trunk).double().eval()
    together, grads = gradients(model, labelled(model, TASKS))
    summed = {}
    for name in TASKS:
        alone, own = gradients(model, labelled(model, [name]))
        torch.testing.assert_close(together.scores[name], alone.scores[name], atol=1e-10, rtol=0)
        summed = {key: summed.get(key, 0) + own.get(key, 0) for key in summed.keys() | own.keys()}
    assert grads.keys() == summed.keys()
    for key, grad in grads.items():
        torch.testing.assert_close(grad, summed[key], atol=1e-10, rtol=0, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("spec", [PAL, LORA], ids=["pal", "lora"])
def test_each_task_is_read_by_its_own_adapter_alone(small, tokenizer, spec):
    model = build(small, tokenizer, spec).eval()
    before = {name: model(**step(model, [name])).scores[name] for name in TASKS}
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if ".qqp." in key and key.startswith("trunk"):
                weight.add_(1.0)
    for name in TASKS:
        same = torch.equal(model(**step(model, [name])).scores[name], before[name])
        assert same == (name != "qqp")


@pytest.mark.parametrize("spec", [PAL, LORA], ids=["pal", "lora"])
def test_idle_adapters_get_no_gradient(small, tokenizer, spec):
    model = build(small, tokenizer, spec).train()
    _, grads = gradients(model, labelled(model, ["sst", "sts"]))
    assert any(".sst." in key for key in grads)
    assert not any(".qqp." in key for key in grads)


@pytest.mark.parametrize(("spec", "passes"), [(PAL, 1), (LORA, 3)], ids=["pal", "lora"])
def test_how_often_the_trunk_runs(small, tokenizer, spec, passes):
    model = build(small, tokenizer, spec)
    calls = []
    model.trunk.register_forward_hook(lambda *_: calls.append(1))
    model(**step(model, TASKS))
    assert len(calls) == passes


def test_an_untrained_pal_changes_nothing(small, tokenizer):
    plain, tuned = (build(small, tokenizer, s).eval() for s in (None, {**PAL, "init_weights": True}))
    batch = step(plain, TASKS)
    want, got = plain(**batch).scores, tuned(**batch).scores
    assert all(torch.equal(got[name], want[name]) for name in TASKS)


@pytest.mark.parametrize("spec", [PAL, LORA], ids=["pal", "lora"])
def test_embeddings_given_or_looked_up_are_the_same(small, tokenizer, spec):
    model = build(small, tokenizer, spec).eval()
    batch = Batch.of(**step(model, TASKS))
    words = model.get_input_embeddings()(batch.input_ids)
    looked_up, given = model.read(batch), model.read(batch, words)
    assert all(torch.equal(looked_up[name], given[name]) for name in TASKS)


@pytest.mark.parametrize("spec", [PAL, LORA], ids=["pal", "lora"])
def test_one_folder_holds_base_and_adapters(small, tokenizer, spec, tmp_path):
    model = build(small, tokenizer, spec).eval()
    model.save_pretrained(tmp_path)
    build(small, tokenizer, None).save_pretrained(tmp_path / "plain")
    assert load_file(tmp_path / "model.safetensors").keys() == load_file(tmp_path / "plain/model.safetensors").keys()
    assert {path.name for path in (tmp_path / "adapters").iterdir()} == set(TASKS)
    loaded = AutoModel.from_pretrained(tmp_path)
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key
    for name, second in (("sst", None), ("qqp", SECOND), ("sts", SECOND)):
        assert torch.equal(loaded.predict(name, FIRST, second).scores, model.predict(name, FIRST, second).scores)
    assert all(p.requires_grad for n, p in loaded.named_parameters() if "adapters" in n or "lora" in n)


@pytest.mark.parametrize("spec", [PAL, LORA], ids=["pal", "lora"])
def test_each_adapter_is_loaded_by_plain_peft(small, tokenizer, spec, tmp_path):
    model = build(small, tokenizer, spec).eval()
    model.save_pretrained(tmp_path)
    batch = tokenizer(FIRST, padding=True, return_tensors="pt")
    want = model.pool(Batch.of(**step(model, ["sst"])))
    bare = MultitaskModel.from_pretrained(tmp_path, adapters=False).trunk
    assert not any("adapter" in key or "lora" in key for key in bare.state_dict())
    stock = BertModel(BertConfig(**{k: v for k, v in small.to_dict().items() if k not in ("model_type", "unpad")}))
    stock.load_state_dict(bare.state_dict(), strict=False)
    bare.save_pretrained(tmp_path / "base")
    own = PeftModel.from_pretrained(bare, tmp_path / "adapters/sst").eval()
    theirs = PeftModel.from_pretrained(stock, tmp_path / "adapters/sst").eval()
    for adapted in (own, theirs):
        hidden = adapted(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        torch.testing.assert_close((hidden * mask).sum(1) / mask.sum(1), want, atol=1e-6, rtol=0)


def test_auto_peft_finds_the_base_of_an_adapter(small, tokenizer, tmp_path):
    build(small, tokenizer, None).trunk.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    model = MultitaskModel.from_trunk(tmp_path / "base", TASKS, freeze_trunk=True)
    model.add_adapters(build_tuner(PAL))
    model.save_pretrained(tmp_path / "model")
    found = AutoPeftModel.from_pretrained(tmp_path / "model/adapters/qqp")
    weight = "encoder.layer.1.output.pal_adapters.{}.qkv.weight"
    assert torch.equal(
        found.base_model.model.get_parameter(weight.format("default")), model.trunk.get_parameter(weight.format("qqp"))
    )


def test_a_new_model_takes_the_trunk_without_its_adapters(small, tokenizer, tmp_path):
    model = build(small, tokenizer, PAL)
    model.save_pretrained(tmp_path)
    new = MultitaskModel.from_trunk(tmp_path, {"sst": TASKS["sst"]})
    assert not new.config.adapters
    assert not any("pal" in key for key in new.state_dict())
    assert torch.equal(new.trunk.embeddings.word_embeddings.weight, model.trunk.embeddings.word_embeddings.weight)


@pytest.mark.parametrize("spec", [PAL, LORA], ids=["pal", "lora"])
def test_a_frozen_trunk_trains_adapters_heads_and_norms_if_wanted(small, tokenizer, spec):
    def learning(**options):
        model = build(small, tokenizer, spec, **options)
        return {name for name, p in model.named_parameters() if p.requires_grad}, model

    everything, model = learning()
    assert everything == {name for name, _ in model.named_parameters()}
    frozen, model = learning(freeze_trunk=True)
    assert frozen == {n for n in everything if n.startswith("heads.") or set(n.split(".")) & set(TASKS)}
    assert model.train().trunk.training
    with_norms, _ = learning(freeze_trunk=True, train_norms=True)
    assert with_norms - frozen == {n for n in everything if "LayerNorm" in n}
    assert len(with_norms - frozen) == 10


def test_without_adapters_a_frozen_trunk_has_no_dropout(small, tokenizer):
    assert not build(small, tokenizer, None, freeze_trunk=True).train().trunk.training
    assert build(small, tokenizer, None, freeze_trunk=True, train_norms=True).train().trunk.training


def test_checkpointing_changes_no_gradient_of_pals_and_is_refused_for_others(small, tokenizer):
    model = build(small, tokenizer, PAL).train()
    batch = labelled(model, TASKS)
    _, want = gradients(model, batch)
    model.activation_checkpointing_enable()
    _, got = gradients(model, batch)
    torch.testing.assert_close(got, want)
    other = build(small, tokenizer, LORA).train()
    other.activation_checkpointing_enable()
    with pytest.raises(ValueError, match="another task's adapter"):
        other(**batch)


def test_a_sequence_of_two_tasks_is_refused(small, tokenizer):
    model = build(small, tokenizer, PAL)
    batch = step(model, ["sst"])
    batch["rows"] = {"sst": torch.tensor([0, 1]), "qqp": torch.tensor([1, 2])}
    with pytest.raises(ValueError, match="number 1 in 'sst' and 'qqp'"):
        model(**batch)


def test_names_that_the_trunk_has_are_refused(small):
    model = MultitaskModel(MultitaskConfig(trunk=small, tasks={"query": TASKS["sst"]}))
    with pytest.raises(ValueError, match="parts of its own named query"):
        model.add_adapters(PalConfig(width=12))
    assert not model.config.adapters


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"init_lora_weights": "pissa"}, "pissa rewrites the trunk's own weights"),
        ({"init_lora_weights": True, "modules_to_save": ["pooler"]}, "modules_to_save cannot be chosen by task"),
    ],
)
def test_what_changes_more_than_an_adapter_is_refused(small, tokenizer, options, said):
    model = build(small, tokenizer, None)
    with pytest.raises(ValueError, match=said):
        model.add_adapters(LoraConfig(r=4, target_modules=["query"], **options))
    assert not getattr(model.trunk, "peft_config", None)


def test_threads_meet_their_own_adapters(small, tokenizer, monkeypatch):
    model = build(small, tokenizer, LORA).eval()
    want = {"sst": model.predict("sst", FIRST).scores, "qqp": model.predict("qqp", FIRST, SECOND).scores}
    wrong = []

    def ask(name, *texts):
        for _ in range(30):
            if not torch.equal(model.predict(name, *texts).scores, want[name]):
                wrong.append(name)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        threads = [Thread(target=ask, args=("sst", FIRST)), Thread(target=ask, args=("qqp", FIRST, SECOND))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_adapters_come_once(small, tokenizer):
    with pytest.raises(ValueError, match="has its adapters already"):
        build(small, tokenizer, PAL).add_adapters(LoraConfig())


def test_restore_takes_back_every_weight_and_refuses_another_models(small, tokenizer, tmp_path):
    model = build(small, tokenizer, PAL)
    model.save_pretrained(tmp_path)
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    model.restore(tmp_path)
    assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())
    with pytest.raises(ValueError, match=r"adapter 'sst' does not fit.*settings"):
        build(small, tokenizer, {**PAL, "share_projections": False}).restore(tmp_path)
    with pytest.raises(ValueError, match="saved from another model"):
        build(small, tokenizer, None, trunk="roberta").restore(tmp_path)


def test_modernbert_takes_lora_and_says_why_no_pal(tokenizer):
    sizes = {"num_hidden_layers": 2, "intermediate_size": 32, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    config = MultitaskConfig(trunk=ModernBertConfig(**SIZES, **sizes), tasks=TASKS)
    with pytest.raises(ValueError, match="A PAL runs beside"):
        MultitaskModel(config).add_adapters(PalConfig(width=12))
    model = MultitaskModel(config)
    model.tokenizer = tokenizer
    model.add_adapters(LoraConfig(r=2, target_modules=["Wqkv"]))
    assert model(**step(model, TASKS)).scores.keys() == TASKS.keys()


SMALL = {
    "C3AConfig": {"block_size": 8},
    "FourierFTConfig": {"n_frequency": 10},
    "MissConfig": {"r": 4},
    "LNTuningConfig": {"target_modules": ["LayerNorm"]},
    "Pal": {"width": 12},
    "PsoftConfig": {"r": 4},
    "RoadConfig": {"group_size": 8},
    "ShiraConfig": {"r": 2},
    "WaveFTConfig": {"n_frequency": 10},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TUNERS)
def test_every_method_trains_saves_and_loads(small, tokenizer, name, tmp_path):
    options = SMALL.get(name, {})
    if "target_modules" in TUNERS[name].__dataclass_fields__ and name not in ("Pal", "IA3Config"):
        options = {"target_modules": ["query", "value"], **options}
    model = build(small, tokenizer, {"class": name, **options}, freeze_trunk=True).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        _, grads = gradients(model, labelled(model, TASKS))
        optimizer.step()
    assert {task for task in TASKS for key in grads if key.startswith("trunk") and task in key.split(".")} == set(TASKS)
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    for task, second in (("sst", None), ("sts", SECOND)):
        want, got = (m.predict(task, FIRST, second).scores for m in (model, loaded))
        torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    assert isinstance(loaded.heads, nn.ModuleDict)
