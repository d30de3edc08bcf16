"""What runs around an adapter: precisions, checkpointing, compilers, other attention, sentence-transformers."""

import itertools

import pytest
import torch
from peft import get_peft_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AttentionInterface

from hf_multitask import MinBertModel
from hf_multitask.tuners.pal import PalConfig

KINDS = ["minbert", "bert", "roberta", "electra"]
NAMES = ["qqp", "sst", "sst", "qqp", "qqp", "sst"]
OPTIONS = {"width": 12, "heads": 3, "init_std": 0.3, "init_weights": False}
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:Already found a `peft_config` attribute:UserWarning",
)


def real(model, batch, **options):
    return model(**batch, **options).last_hidden_state[batch["attention_mask"].bool()]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("names", [None, NAMES])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", KINDS)
def test_bf16(build, adapt, batch, kind, attention, names, training):
    """Under autocast, and on a base of bf16 weights, whose adapters PEFT keeps in float32."""
    options = {} if names is None else {"adapter_names": names}
    model = adapt(None, "sst", "qqp", base=build(kind, attention=attention)).train(training)
    want = real(model, batch, **options)
    with torch.autocast("cpu", torch.bfloat16):
        got = real(model, batch, **options)
    got.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    torch.testing.assert_close(got.float(), want, atol=0.15, rtol=0.15)
    half = adapt(None, "sst", "qqp", base=build(kind, attention=attention), dtype=torch.bfloat16).train(training)
    assert {p.dtype for n, p in half.named_parameters() if "pal_adapters" in n} == {torch.float32}
    got = real(half, batch, **options)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), want, atol=0.3, rtol=0.3)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_checkpointing_leaves_gradients_alone(adapt, batch, kind, reentrant, frozen):
    model = adapt(kind, "sst", dtype=torch.float64).train()
    if not frozen:
        model.requires_grad_(True)
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
        model.zero_grad()
        (real(model, batch) ** 3).sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, frugal = found
    assert plain.keys() == frugal.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(frugal[name], gradient, atol=1e-11, rtol=1e-11, msg=name)


@pytest.mark.parametrize("names", [None, NAMES])
@pytest.mark.parametrize("kind", KINDS)
def test_compiles_to_one_graph(build, batch, kind, names):
    torch.compiler.reset()
    model = build(kind).eval()
    for name in ("qqp", "sst"):
        model.add_adapter(PalConfig(**OPTIONS), name)
    options = {} if names is None else {"adapter_names": names}
    want = real(model, batch, **options)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(real(compiled, batch, **options), want)


def test_compiled_gradients(adapt, batch):
    torch.compiler.reset()
    model = adapt("bert", "sst").train()
    found = []
    for forward in (model, torch.compile(model, backend="aot_eager")):
        model.zero_grad()
        real(forward, batch).square().sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(found[0]) == 8
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("names", [None, NAMES])
def test_variable_length_attention(build, adapt, batch, flat, names):
    """A stand-in for flash attention, which runs on other devices: a loop over the sequences it is told of."""

    def reference(module, query, key, value, mask, *, scaling, cu_seq_lens_q, max_length_q, **_):
        assert mask is None
        ends = cu_seq_lens_q.tolist()
        assert max_length_q == max(b - a for a, b in itertools.pairwise(ends))
        parts = [
            torch.softmax(query[:, :, a:b] @ key[:, :, a:b].mT * scaling, -1) @ value[:, :, a:b]
            for a, b in itertools.pairwise(ends)
        ]
        return torch.cat(parts, dim=2).transpose(1, 2), None

    AttentionInterface.register("reference_flash", reference)
    options = {} if names is None else {"adapter_names": names}
    model = adapt("minbert", "sst", "qqp", dtype=torch.float64)
    want = model(**flat, **options).last_hidden_state
    model.config._attn_implementation = "reference_flash"
    torch.testing.assert_close(model(**flat, **options).last_hidden_state, want, atol=1e-12, rtol=0)


def test_the_bases_own_records_are_as_before(build, batch):
    model = build("minbert", attention="eager").eval()
    options = {"output_hidden_states": True, "output_attentions": True}
    before = model(**batch, **options)
    after = get_peft_model(model, PalConfig(width=12, heads=3))(**batch, **options)
    for name in ("hidden_states", "attentions"):
        torch.testing.assert_close(after[name], before[name], atol=0, rtol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["bert", "minbert"])
def test_sentence_transformer(build, tokenizer, tmp_path, kind):
    build(kind).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    transformer = Transformer(str(tmp_path / "base"))
    model = SentenceTransformer(modules=[transformer, Pooling(16)], device="cpu")
    texts = ["the film is good", "a dull cat", "dog"]
    base = model.encode(texts)
    model.add_adapter(PalConfig(**OPTIONS), "sst")
    want = model.encode(texts)
    assert abs(want - base).max() > 1e-3
    model.disable_adapters()
    assert abs(model.encode(texts) - base).max() < 1e-6
    model.enable_adapters()
    model[0].save(str(tmp_path / "adapter"))
    fresh = SentenceTransformer(modules=[Transformer(str(tmp_path / "base")), Pooling(16)], device="cpu")
    fresh.load_adapter(str(tmp_path / "adapter"), adapter_name="again")
    assert abs(fresh.encode(texts) - want).max() < 1e-6


def test_the_trunk_of_a_multitask_model_is_adapted_in_place(model, flat):
    """One pass of the trunk, each sequence under its task's adapter; the rest of the model does not know."""
    for name in model.tasks:
        model.trunk.add_adapter(PalConfig(**OPTIONS), name)
    model.trunk.set_adapter(list(model.tasks))
    assert isinstance(model.trunk, MinBertModel)
    flat["input_ids"] %= model.config.trunk.vocab_size
    model.trunk(**flat, adapter_names=["sst", "qqp", "qqp", "sst", "sst", "qqp"]).last_hidden_state.sum().backward()
    pals = {key: p.grad is not None for key, p in model.named_parameters() if ".pal_adapters." in key}
    assert len(pals) == 3 * 8
    assert all(moved is (".sts." not in key) for key, moved in pals.items())
