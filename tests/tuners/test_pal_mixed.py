"""One pass under several adapters: each sequence under its own, in training too."""

import threading

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from hf_multitask.models.packing import Packing
from hf_multitask.tuners.pal import PalConfig

KINDS = ["minbert", "bert", "roberta", "electra"]
NAMES = ["qqp", "sst", "sts", "sst", "qqp", "sst"]
WITH_BASE = ["qqp", "sst", "__base__", "sst", "qqp", "__base__"]
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:Already found a `peft_config` attribute:UserWarning",
)


def loss(output, weights):
    return (output * weights).sum()


@pytest.fixture
def weights(batch):
    """A weight for each output, so that no two sequences' gradients are alike; zero where padding is."""
    mask = batch["attention_mask"]
    return torch.randn(*mask.shape, 16, dtype=torch.float64) * mask[..., None]


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def separately(model, batch, names, weights):
    """Every sequence's output with its own adapter active for the whole batch, and the gradients of all of them."""
    outputs = torch.zeros_like(weights)
    model.zero_grad()
    for name in dict.fromkeys(names):
        rows = torch.tensor([other == name for other in names])
        if name == "__base__":
            with model.disable_adapter():
                output = model(**batch).last_hidden_state
        else:
            model.set_adapter(name)
            output = model(**batch).last_hidden_state
        loss(output[rows], weights[rows]).backward()
        outputs[rows] = output[rows].detach()
    found = gradients(model)
    model.zero_grad()
    return outputs, found


def train_everything(model):
    model.base_model.set_adapter(sorted(model.peft_config))
    return model.requires_grad_(True)


@pytest.mark.parametrize("names", [NAMES, WITH_BASE, ["sst"] * 2 + ["qqp"] * 3 + ["sts"], ["sst"] * 6])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_separate_runs_in_outputs_and_gradients(adapt, batch, weights, kind, names):
    model = train_everything(adapt(kind, "sst", "qqp", "sts", dtype=torch.float64).train())
    got = model(**batch, adapter_names=names).last_hidden_state
    loss(got, weights).backward()
    mine = gradients(model)
    want, theirs = separately(train_everything(model), batch, names, weights)
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(got[real], want[real], atol=1e-12, rtol=0)
    for name, gradient in theirs.items():
        torch.testing.assert_close(mine.pop(name), gradient, atol=1e-11, rtol=1e-11, msg=name)
    assert not mine


@pytest.mark.parametrize("worth", [0, 10**9])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("names", [NAMES, WITH_BASE, ["sst"] * 6])
def test_flat_batches_equal_padded_ones(build, adapt, batch, flat, weights, names, attention, worth, monkeypatch):
    monkeypatch.setattr("hf_multitask.models.packing.WORTH", worth)
    base = build("minbert", attention=attention)
    model = train_everything(adapt(None, "sst", "qqp", "sts", base=base, dtype=torch.float64))
    packing = flat["packing"]
    want, theirs = separately(model, batch, names, weights)
    train_everything(model)
    got = model(**flat, adapter_names=names).last_hidden_state
    loss(got, packing.unpad(weights)).backward()
    torch.testing.assert_close(got, packing.unpad(want), atol=1e-12, rtol=0)
    mine = gradients(model)
    for name, gradient in theirs.items():
        torch.testing.assert_close(mine[name], gradient, atol=1e-11, rtol=1e-11, msg=name)


def test_padding_on_the_left_deals_out_alike(adapt, batch):
    """minBERT finds tokens wherever the mask has them."""
    model = adapt("minbert", "sst", "qqp", "sts", dtype=torch.float64)
    turned = {key: value.flip(1) for key, value in batch.items()}
    places = torch.arange(10).expand(6, 10)
    got = model(**turned, position_ids=places, adapter_names=NAMES).last_hidden_state
    want = model(**batch, position_ids=places.flip(1), adapter_names=NAMES).last_hidden_state
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(got.flip(1)[real], want[real], atol=1e-12, rtol=0)


def test_without_padding(adapt, batch):
    model = adapt("minbert", "sst", "qqp", dtype=torch.float64)
    ids = batch["input_ids"][:, :4].clamp(min=5)
    got = model(input_ids=ids, adapter_names=["sst", "qqp"] * 3).last_hidden_state
    model.set_adapter("qqp")
    torch.testing.assert_close(got[1::2], model(input_ids=ids).last_hidden_state[1::2], atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_without_rows_is_left_alone(adapt, batch, kind):
    """No gradient, so that neither its weights nor what the optimizer keeps of it move: weight decay included."""
    model = train_everything(adapt(kind, "sst", "qqp", "sts").train())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    model(**batch, adapter_names=NAMES).last_hidden_state.square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    others = {n: p for n, p in model.named_parameters() if ".pal_adapters." in n and ".qqp." not in n}
    before = {name: p.detach().clone() for name, p in others.items()}
    states = {name: {k: v.clone() for k, v in optimizer.state[p].items()} for name, p in others.items()}
    model(**batch, adapter_names=["qqp"] * 6).last_hidden_state.square().sum().backward()
    assert all(p.grad is None for p in others.values())
    mine = {n: p.detach().clone() for n, p in model.named_parameters() if ".qqp." in n}
    optimizer.step()
    for name, parameter in others.items():
        assert torch.equal(parameter, before[name])
        assert all(torch.equal(value, states[name][key]) for key, value in optimizer.state[parameter].items())
    assert len(others) == 2 * len(mine) == 16
    assert not any(torch.equal(model.get_parameter(name), value) for name, value in mine.items())


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_checkpointing_and_two_forwards_before_a_backward(adapt, batch, weights, kind, reentrant):
    model = train_everything(adapt(kind, "sst", "qqp", "sts", dtype=torch.float64).train())
    other = NAMES[::-1]
    for names in (NAMES, other):
        loss(model(**batch, adapter_names=names).last_hidden_state, weights).backward()
    want = gradients(model)
    model.zero_grad()
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    first = loss(model(**batch, adapter_names=NAMES).last_hidden_state, weights)
    second = loss(model(**batch, adapter_names=other).last_hidden_state, weights)
    first.backward()
    second.backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, want.pop(name), atol=1e-11, rtol=1e-11, msg=name)
    assert not want


@pytest.mark.parametrize("kind", KINDS)
def test_threads_run_side_by_side(adapt, batch, kind):
    model = adapt(kind, "sst", "qqp", "sts").eval()
    plans = [NAMES, WITH_BASE, ["sts"] * 6, None]

    def run(names):
        with torch.no_grad():
            return model(**batch, **({} if names is None else {"adapter_names": names})).last_hidden_state

    want = [run(names) for names in plans]
    faults = []

    def check(names, expected):
        for _ in range(15):
            if not torch.equal(run(names), expected):
                faults.append(names)

    threads = [threading.Thread(target=check, args=pair) for pair in zip(plans, want, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


@pytest.mark.parametrize("kind", ["minbert", "bert"])
def test_adapters_in_place_take_the_names_too(build, batch, kind):
    """transformers' own add_adapter leaves the model as it is, and `adapter_names` is an argument of its forward."""
    model = build(kind).to(torch.float64)
    config = {"width": 12, "heads": 3, "init_std": 0.3, "init_weights": False}
    for name in ("sst", "qqp"):
        model.add_adapter(PalConfig(**config), name)
    names = ["qqp", "sst", "sst", "qqp", "qqp", "sst"]
    got = model(**batch, adapter_names=names).last_hidden_state
    for name in ("sst", "qqp"):
        model.set_adapter(name)
        rows = torch.tensor([other == name for other in names])
        real = batch["attention_mask"].bool() & rows[:, None]
        torch.testing.assert_close(got[real], model(**batch).last_hidden_state[real], atol=1e-12, rtol=0)


def test_adapters_at_different_layers(build, adapt, batch):
    options = {"width": 12, "heads": 3, "init_std": 0.3, "init_weights": False}
    model = adapt("minbert", "sst", dtype=torch.float64, layers_to_transform=[0])
    model.add_adapter("qqp", PalConfig(**options, layers_to_transform=[1]))
    names = ["sst", "qqp"] * 3
    got = model(**batch, adapter_names=names).last_hidden_state
    want, _ = separately(model, batch, names, torch.zeros_like(got))
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(got[real], want[real], atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_names_are_refused(adapt, batch, kind):
    model = adapt(kind, "sst", "qqp")
    with pytest.raises(ValueError, match=r"non-existing adapter\(s\): x\. adapter_names may hold qqp, sst"):
        model(**batch, adapter_names=["sst", "x"] * 3)
    with pytest.raises(ValueError, match=r"but got 5 names for 6 sequences\. Give one name"):
        model(**batch, adapter_names=["sst"] * 5)


def test_disabled_adapters_stay_out(adapt, batch, build):
    model = adapt("bert", "sst", "qqp")
    with model.disable_adapter():
        got = model(**batch, adapter_names=["sst", "qqp"] * 3).last_hidden_state
    torch.testing.assert_close(got, build("bert")(**batch).last_hidden_state)


def test_heads_saved_whole_are_mixed_in_evaluation_only(adapt, batch):
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    base = BertForSequenceClassification(BertConfig(**sizes, num_attention_heads=4, max_position_embeddings=32))
    model = adapt(None, "sst", "qqp", base=base, task_type="SEQ_CLS").eval()
    torch.nn.init.normal_(model.base_model.model.classifier.modules_to_save["qqp"].weight)
    names = ["sst", "qqp", "qqp", "sst", "sst", "qqp"]
    got = model(**batch, adapter_names=names).logits
    for name in ("sst", "qqp"):
        model.set_adapter(name)
        rows = torch.tensor([other == name for other in names])
        torch.testing.assert_close(got[rows], model(**batch).logits[rows])
    with pytest.raises(ValueError, match="modules_to_save do not train together"):
        model.train()(**batch, adapter_names=names)


def test_attention_without_padded_masks_is_refused(adapt, batch):
    model = adapt("bert", "sst", "qqp")
    packed = {"cu_seq_lens_q": torch.tensor([0, 3, 6]), "cu_seq_lens_k": torch.tensor([0, 3, 6])}
    with pytest.raises(ValueError, match="need padded input"):
        model(input_ids=batch["input_ids"][:2], **packed, adapter_names=["sst", "qqp"])


def test_each_adapter_sees_its_own_tokens_only(adapt, flat):
    """What another task's sequences hold changes nothing, bit by bit."""
    model = adapt("minbert", "sst", "qqp", "sts").eval()
    packing: Packing = flat["packing"]
    rows = torch.tensor([name == "sst" for name in NAMES]).repeat_interleave(packing.lengths)
    noisy = {**flat, "input_ids": torch.where(rows, flat["input_ids"], 39 - flat["input_ids"] % 30)}
    want = model(**flat, adapter_names=NAMES).last_hidden_state[rows]
    torch.testing.assert_close(model(**noisy, adapter_names=NAMES).last_hidden_state[rows], want, atol=0, rtol=0)
