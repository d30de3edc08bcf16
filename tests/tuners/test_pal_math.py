import pytest
import torch
from peft import get_peft_model
from torch.nn.functional import gelu, layer_norm
from transformers import BertConfig, BertModel

from hf_multitask.tuners.pal import PalConfig

VARIANTS = {
    "paper": {},
    "authors": {"heads": 6, "activation": "gelu", "attention_dropout": 0.1},
    "own projections": {"share_projections": False},
    "low rank": {"width": 5, "attention": False, "share_projections": False},
}
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


class Oracle:
    """The formula of every layer, one sequence, one head and one position at a time, from the weights' names."""

    def __init__(self, model, config, adapter):
        self.weights = {k.removeprefix("base_model.model."): v for k, v in model.state_dict().items()}
        self.config, self.adapter, self.settings = config, adapter, model.config

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name, x):
        return layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-12)

    def attend(self, query, key, value, heads):
        size = query.shape[-1] // heads
        mixed = torch.zeros_like(value)
        for start in range(0, heads * size, size):
            part = slice(start, start + size)
            for place in range(len(query)):
                logits = torch.stack([query[place, part] @ other[part] for other in key]) / size**0.5
                mixed[place, part] = sum(p * v[part] for p, v in zip(logits.softmax(0), value, strict=True))
        return mixed

    def task_specific(self, layer, h):
        own = f"{layer}.output.pal_adapters.{self.adapter}"
        shared = own.replace(layer, "encoder.layer.0") if self.config.share_projections else own
        low = self.linear(f"{shared}.down", h)
        if self.config.attention:
            low = self.attend(*self.linear(f"{own}.qkv", low).chunk(3, -1), self.config.heads)
        added = self.linear(f"{shared}.up", low)
        return added if self.config.activation is None else gelu(added)

    def layer(self, number, h):
        layer = f"encoder.layer.{number}"
        heads = [self.linear(f"{layer}.attention.self.{name}", h) for name in ("query", "key", "value")]
        mixed = self.linear(f"{layer}.attention.output.dense", self.attend(*heads, self.settings.num_attention_heads))
        attended = self.norm(f"{layer}.attention.output.LayerNorm", mixed + h)
        fed = self.linear(
            f"{layer}.output.base_layer.dense", gelu(self.linear(f"{layer}.intermediate.dense", attended))
        )
        total = attended + fed + self.task_specific(layer, h)
        return self.norm(f"{layer}.output.base_layer.LayerNorm", total)

    def encode(self, embedded):
        for number in range(self.settings.num_hidden_layers):
            embedded = self.layer(number, embedded)
        return embedded


def outputs_and_oracle(model, batch, config):
    oracle = Oracle(model, config, "t")
    lengths = batch["attention_mask"].sum(-1).tolist()
    with torch.no_grad():
        embedded = model(**batch, output_hidden_states=True).hidden_states[0]
        got = model(**batch).last_hidden_state
        want = [oracle.encode(row[:length]) for row, length in zip(embedded, lengths, strict=True)]
    return [row[:length] for row, length in zip(got, lengths, strict=True)], want


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["minbert", "padded minbert", "bert", "roberta", "electra"])
def test_equals_a_loop_over_the_formula(build, adapt, batch, kind, attention, variant):
    options = {"unpad": False} if kind == "padded minbert" else {}
    base = build(kind.split()[-1], attention=attention, **options, layer_norm_eps=1e-12)
    model = adapt(None, "t", base=base, dtype=torch.float64, **VARIANTS[variant]).eval()
    got, want = outputs_and_oracle(model, batch, model.peft_config["t"])
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", ["minbert", "bert", "roberta", "electra"])
def test_attends_in_both_directions_where_nothing_is_padded(build, adapt, batch, kind):
    """SDPA's wrapper is causal by default, and only a mask would hide it."""
    full = {"input_ids": batch["input_ids"][2:3], "attention_mask": batch["attention_mask"][2:3]}
    model = adapt(None, "t", base=build(kind, layer_norm_eps=1e-12), dtype=torch.float64).eval()
    got, want = outputs_and_oracle(model, full, model.peft_config["t"])
    torch.testing.assert_close(got[0], want[0], atol=1e-10, rtol=0)


def test_flat_input_equals_padded_input(adapt, batch, flat):
    model = adapt("minbert", "t", dtype=torch.float64)
    padded, packed = model(**batch).last_hidden_state, model(**flat).last_hidden_state
    torch.testing.assert_close(packed, flat["packing"].unpad(padded), atol=1e-12, rtol=0)


@pytest.mark.parametrize("unpad", [True, False])
@pytest.mark.parametrize("kind", ["minbert", "bert", "roberta", "electra"])
def test_padding_never_leaks_in(build, adapt, batch, kind, unpad):
    options = {"unpad": unpad} if kind == "minbert" else {}
    model = adapt(None, "t", base=build(kind, **options))
    real = batch["attention_mask"].bool()
    places = {"position_ids": torch.arange(2, 12)[None].expand(real.shape)}
    noisy = {**batch, "input_ids": torch.where(real, batch["input_ids"], torch.randint(5, 40, real.shape))}
    got, want = model(**noisy, **places).last_hidden_state, model(**batch, **places).last_hidden_state
    torch.testing.assert_close(got[real], want[real], atol=0, rtol=0)


@pytest.mark.parametrize("kind", ["minbert", "bert"])
def test_is_inside_the_last_layer_norm(build, adapt, batch, kind):
    base = build(kind)
    last = base.encoder.layer[-1].output.LayerNorm
    torch.nn.init.ones_(last.weight)
    torch.nn.init.zeros_(last.bias)
    output = adapt(None, "t", base=base)(**batch).last_hidden_state[batch["attention_mask"].bool()]
    torch.testing.assert_close(output.mean(-1), torch.zeros(len(output)), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.var(-1, correction=0), torch.ones(len(output)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("config", [PalConfig(width=12, heads=3), PalConfig.low_rank(width=5)])
@pytest.mark.parametrize("kind", ["minbert", "bert", "roberta", "electra"])
def test_untrained_it_is_exactly_the_base(build, batch, kind, config):
    base = build(kind)
    want = base(**batch).last_hidden_state
    model = get_peft_model(base, config)
    got = model(**batch).last_hidden_state
    torch.testing.assert_close(got, want, atol=0, rtol=0)
    got.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_parameters_on_bert_base():
    with torch.device("meta"):
        base = BertModel(BertConfig(), add_pooling_layer=False)
        count = sum(p.numel() for p in base.parameters())
        model = get_peft_model(base, PalConfig())
    trained = model.get_nb_trainable_parameters()[0]
    assert trained == 1_819_836
    assert round(1 + 8 * trained / count, 2) == 1.13


def test_presets():
    assert PalConfig.paper() == PalConfig()
    theirs = PalConfig.authors(width=24)
    assert (theirs.width, theirs.heads, theirs.activation) == (24, 6, "gelu")
    assert (theirs.attention_dropout, theirs.init_std, theirs.init_weights) == (0.1, 0.02, False)
    assert PalConfig.low_rank().width == 100


def test_initialisation(build):
    torch.manual_seed(0)
    model = get_peft_model(build("bert", hidden_size=64), PalConfig.authors(width=96))
    pal = next(model.base_model.pal_layers()).pal_adapters["default"]
    for linear in (pal.down, pal.qkv, pal.up):
        assert 0.018 < linear.weight.std() < 0.022
        assert not linear.bias.any()


def test_projections_are_shared_or_of_each_layers_own(adapt):
    for share in (True, False):
        model = adapt("minbert", "t", share_projections=share)
        first, second = (layer.output.pal_adapters["t"] for layer in model.base_model.model.encoder.layer)
        assert [a is b for a, b in zip(first.projections, second.projections, strict=True)] == [share, share]
        assert first.qkv is not second.qkv


def test_attention_dropout_is_for_training(adapt, batch):
    model = adapt("bert", "t", attention_dropout=0.5)
    once, again = (model.eval()(**batch).last_hidden_state for _ in range(2))
    torch.testing.assert_close(once, again, atol=0, rtol=0)
    once, again = (model.train()(**batch).last_hidden_state for _ in range(2))
    assert not torch.allclose(once, again)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"heads": 7}, r"width 204 is no multiple of 7 heads"),
        ({"heads": 0}, r"no multiple of 0 heads"),
        ({"width": 0}, r"width must be at least 1, got 0"),
        ({"attention_dropout": 1.0}, r"attention_dropout must be in \[0, 1\), got 1.0"),
        ({"activation": "gleu"}, r"unknown activation 'gleu', choose among"),
        ({"init_std": -1.0}, r"init_std must be positive, got -1.0"),
        ({"width": 10, "heads": 3, "activation": "no"}, r"no multiple of 3 heads; unknown activation"),
    ],
)
def test_faults_are_named_at_construction(fault, message):
    with pytest.raises(ValueError, match=message):
        PalConfig(**fault)


def test_low_rank_needs_no_heads():
    assert PalConfig.low_rank(width=5, heads=7).width == 5
