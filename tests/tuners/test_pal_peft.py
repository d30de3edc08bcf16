"""The life of an adapter: PEFT's own verbs, and transformers'."""

import copy
import json
import pickle
import subprocess
import sys

import pytest
import torch
from peft import AutoPeftModel, LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (
    BertConfig,
    BertModel,
    CamembertModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaPreLayerNormConfig,
    RobertaPreLayerNormModel,
    XLMRobertaModel,
)

from hf_multitask.tuners.pal import PalConfig, PalLayer

KINDS = ["minbert", "bert", "roberta", "electra"]
OPTIONS = {"width": 12, "heads": 3, "init_std": 0.3, "init_weights": False}
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:Already found a `peft_config` attribute:UserWarning",
    "ignore:Adapter .* was active which is now deleted:UserWarning",
)


def run(model, batch):
    with torch.no_grad():
        return model(**batch).last_hidden_state[batch["attention_mask"].bool()]


@pytest.mark.parametrize("options", [{}, {"share_projections": False}, {"attention": False}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_saves_loads_and_renames(build, adapt, batch, tmp_path, kind, options):
    model = adapt(kind, "sst", "qqp", **options).eval()
    want = {}
    for name in ("sst", "qqp"):
        model.set_adapter(name)
        want[name] = run(model, batch)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(build(kind), tmp_path / "sst", adapter_name="renamed")
    result = loaded.load_adapter(tmp_path / "qqp", "qqp")
    assert not result.missing_keys
    assert not result.unexpected_keys
    torch.testing.assert_close(run(loaded, batch), want["sst"], atol=0, rtol=0)
    loaded.set_adapter("qqp")
    torch.testing.assert_close(run(loaded, batch), want["qqp"], atol=0, rtol=0)
    frugal = PeftModel.from_pretrained(build(kind), tmp_path / "sst", low_cpu_mem_usage=True)
    torch.testing.assert_close(run(frugal, batch), want["sst"], atol=0, rtol=0)
    shares = options.get("share_projections", True)
    first, second = (layer.pal_adapters["default"] for layer in frugal.base_model.pal_layers())
    assert (first.projections[0] is second.projections[0]) is shares


def test_shared_projections_are_in_the_file_once(adapt, tmp_path):
    adapt("bert", "sst").save_pretrained(tmp_path)
    saved = load_file(tmp_path / "sst" / "adapter_model.safetensors")
    first = "base_model.model.encoder.layer.0.output.pal_adapters"
    assert {f"{first}.{name}.weight" for name in ("down", "qkv", "up")} <= set(saved)
    assert len(saved) == 8
    assert not any("sst" in key for key in saved)


def test_the_configuration_survives_a_file(adapt, tmp_path):
    model = adapt("bert", "sst", exclude_modules=[r"encoder.layer.1.output"])
    model.save_pretrained(tmp_path)
    loaded = PeftConfig.from_pretrained(tmp_path / "sst")
    assert isinstance(loaded, PalConfig)
    assert (loaded.width, loaded.heads, loaded.init_std) == (12, 3, 0.3)
    assert model.targeted_module_names == ["encoder.layer.0.output"]
    assert json.loads((tmp_path / "sst" / "adapter_config.json").read_text())["peft_type"] == "PAL"


@pytest.mark.parametrize("kind", ["minbert", "bert"])
def test_auto_peft_model(build, batch, tmp_path, kind):
    build(kind).save_pretrained(tmp_path / "base")
    base = type(build(kind)).from_pretrained(tmp_path / "base")
    model = get_peft_model(base, PalConfig(**OPTIONS)).eval()
    model.save_pretrained(tmp_path / "adapter")
    allowed = ["transformers", "hf_multitask"]
    loaded = AutoPeftModel.from_pretrained(tmp_path / "adapter", import_allowlist=allowed)
    torch.testing.assert_close(run(loaded, batch), run(model, batch), atol=0, rtol=0)


@pytest.mark.parametrize("options", [{}, {"share_projections": False}, {"attention": False}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_own_verbs(build, adapt, batch, tmp_path, kind, options, caplog):
    model = adapt(kind, "sst", **options).eval()
    model.save_pretrained(tmp_path)
    plain = build(kind).eval()
    base = run(plain, batch)
    plain.load_adapter(tmp_path / "sst", adapter_name="loaded")
    assert "MISSING" not in caplog.text
    want = run(model, batch)
    torch.testing.assert_close(run(plain, batch), want, atol=0, rtol=0)
    plain.add_adapter(PalConfig(**OPTIONS), "fresh")
    assert plain.active_adapters() == ["fresh"]
    assert not torch.allclose(run(plain, batch), want)
    plain.disable_adapters()
    torch.testing.assert_close(run(plain, batch), base, atol=0, rtol=0)
    plain.enable_adapters()
    plain.set_adapter("loaded")
    plain.save_pretrained(tmp_path / "again")
    again = PeftModel.from_pretrained(build(kind), tmp_path / "again")
    torch.testing.assert_close(run(again, batch), want, atol=0, rtol=0)
    plain.delete_adapter("fresh")
    torch.testing.assert_close(run(plain, batch), want, atol=0, rtol=0)
    plain.delete_adapter("loaded")
    torch.testing.assert_close(run(plain, batch), base, atol=0, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_deletes(adapt, build, batch, kind):
    model = adapt(kind, "sst", "qqp")
    model.set_adapter("qqp")
    want = run(model, batch)
    model.delete_adapter("sst")
    assert set(model.peft_config) == {"qqp"}
    assert not any(".sst." in name for name in model.state_dict())
    torch.testing.assert_close(run(model, batch), want, atol=0, rtol=0)
    model.delete_adapter("qqp")
    torch.testing.assert_close(run(model.base_model, batch), run(build(kind), batch), atol=0, rtol=0)
    with pytest.raises(ValueError, match="Adapter qqp does not exist"):
        model.delete_adapter("qqp")


def test_deletes_below_a_name_that_holds_the_prefix(build):
    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.principal_encoder = build("bert")

    model = get_peft_model(Pair(), PalConfig(**OPTIONS), adapter_name="sst")
    model.add_adapter("qqp", PalConfig(**OPTIONS))
    model.delete_adapter("sst")
    assert not any(".sst." in name for name in model.state_dict())
    assert model.active_adapters == ["qqp"]


@pytest.mark.parametrize("kind", KINDS)
def test_disables_and_unloads(adapt, build, batch, kind):
    base = run(build(kind), batch)
    model = adapt(kind, "sst")
    want = run(model, batch)
    with model.disable_adapter():
        torch.testing.assert_close(run(model, batch), base, atol=0, rtol=0)
    torch.testing.assert_close(run(model, batch), want, atol=0, rtol=0)
    unloaded = model.unload()
    torch.testing.assert_close(run(unloaded, batch), base, atol=0, rtol=0)
    assert set(unloaded.state_dict()) == set(build(kind).state_dict())
    assert not any(module._forward_hooks for module in unloaded.encoder.layer.modules())


def test_several_active_adapters_add_up(adapt, batch):
    """On one layer, the sum: two halves of one adapter are the whole."""
    model = adapt("bert", "whole", "one", "two", layers_to_transform=[1])
    whole, *halves = (next(model.base_model.pal_layers()).pal_adapters[name] for name in ("whole", "one", "two"))
    for half in halves:
        half.load_state_dict(whole.state_dict())
        half.up.weight.data /= 2
        half.up.bias.data /= 2
    want = run(model, batch)
    model.base_model.set_adapter(["one", "two"])
    assert model.active_adapters == ["one", "two"]
    torch.testing.assert_close(run(model, batch), want)


def test_only_the_active_adapter_trains(adapt, batch):
    model = adapt("bert", "sst", "qqp")
    model(**batch).last_hidden_state.square().sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None}
    assert moved == {name for name, p in model.named_parameters() if ".pal_adapters.sst." in name}


@pytest.mark.parametrize("trainable", [True, False])
def test_loaded_adapters_train_when_asked_to(build, adapt, tmp_path, trainable):
    adapt("bert", "sst").save_pretrained(tmp_path)
    model = PeftModel.from_pretrained(build("bert"), tmp_path / "sst", adapter_name="sst", is_trainable=trainable)
    model.load_adapter(tmp_path / "sst", "qqp", is_trainable=trainable)
    assert {p.requires_grad for name, p in model.named_parameters() if ".pal_adapters." in name} == {trainable}
    assert not any(p.requires_grad for name, p in model.named_parameters() if ".pal_adapters." not in name)


# PEFT adapts nothing inside another method's layer: what LoRA shall do to `output.dense` it must do first.
@pytest.mark.parametrize(
    ("first", "targets"),
    [("lora", ["query", "value"]), ("pal", ["query", "value"]), ("lora", ["query", "output.dense"])],
)
def test_beside_lora(build, batch, tmp_path, first, targets):
    """Both in one model: together, alone, and each in its own file."""
    model = build("bert").eval()
    base = run(model, batch)
    configs = {"lora": LoraConfig(target_modules=targets, init_lora_weights=False), "pal": PalConfig(**OPTIONS)}
    for name in (first, *(configs.keys() - {first})):
        model.add_adapter(configs[name], name)
    outputs = {}
    for names in ("lora", "pal", ["lora", "pal"]):
        model.set_adapter(names)
        outputs[str(names)] = run(model, batch)
    assert len({output.sum().item() for output in [base, *outputs.values()]}) == 4
    model.disable_adapters()
    torch.testing.assert_close(run(model, batch), base, atol=0, rtol=0)
    model.enable_adapters()
    for name in configs:
        model.set_adapter(name)
        model.save_pretrained(tmp_path / name)
    alone = PeftModel.from_pretrained(build("bert"), tmp_path / "pal")
    torch.testing.assert_close(run(alone, batch), outputs["pal"])
    if "output.dense" not in targets:
        alone = PeftModel.from_pretrained(build("bert"), tmp_path / "lora")
        torch.testing.assert_close(run(alone, batch), outputs["lora"])
    model.delete_adapter("lora")
    model.set_adapter("pal")
    torch.testing.assert_close(run(model, batch), outputs["pal"], atol=0, rtol=0)


@pytest.mark.parametrize("merge", ["merge_and_unload", "merge_adapter"])
def test_merging_says_why_not(adapt, merge):
    model = adapt("bert", "sst")
    with pytest.raises(ValueError, match="A PAL cannot be merged: its attention reads the whole sequence"):
        getattr(model, merge)()
    with pytest.raises(ValueError, match="A PAL cannot be merged"):
        next(model.base_model.pal_layers()).merge()


@pytest.mark.filterwarnings("ignore:Adapter name:UserWarning")
@pytest.mark.parametrize(
    "name", ["", "a.b", "keys", "training", "encoder", "output", "0", "__base__", "down", "weight"]
)
def test_names_that_peft_cannot_hold(build, adapt, name):
    with pytest.raises(ValueError, match=f"PEFT cannot hold an adapter named '{name}'"):
        get_peft_model(build("bert"), PalConfig(**OPTIONS), adapter_name=name)
    model = adapt("bert", "sst")
    with pytest.raises(ValueError, match=f"PEFT cannot hold an adapter named '{name}'"):
        model.add_adapter(name, PalConfig(**OPTIONS))
    assert set(model.peft_config) == {"sst"}


SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 40}


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (
            lambda: DistilBertModel(DistilBertConfig(dim=16, hidden_dim=24, n_layers=1, n_heads=4)),
            "Found none in this Di",
        ),
        (lambda: RobertaPreLayerNormModel(RobertaPreLayerNormConfig(**SMALL)), "Got RobertaPreLayerNormLayer in this"),
        (lambda: BertModel(BertConfig(**SMALL, is_decoder=True)), "attends in both directions. Got a decoder"),
        (lambda: BertModel(BertConfig(**SMALL, chunk_size_feed_forward=2)), "needs the whole sequence"),
        (lambda: torch.nn.Linear(3, 3), "Found none in this Linear"),
    ],
)
def test_bases_whose_layers_are_not_supported(base, message):
    with pytest.raises(ValueError, match=message):
        get_peft_model(base(), PalConfig(**OPTIONS))


def test_targets_that_match_nothing(build):
    with pytest.raises(ValueError, match=r"Found none in this BertModel for target_modules=\{'query'\}"):
        get_peft_model(build("bert"), PalConfig(**OPTIONS, target_modules=["query"]))


def test_chosen_layers_only(build):
    model = get_peft_model(build("bert"), PalConfig(**OPTIONS, target_modules=r".*layer\.1\.output"))
    assert model.targeted_module_names == ["encoder.layer.1.output"]
    assert sum(isinstance(module, PalLayer) for module in model.modules()) == 1


def test_status_and_counts(adapt):
    model = adapt("bert", "sst", "qqp")
    status = model.get_model_status()
    assert (status.num_adapter_layers, status.enabled, status.active_adapters) == (2, True, ["sst"])
    assert status.peft_types == {"sst": "PAL", "qqp": "PAL"}
    assert {layer.module_type for layer in model.get_layer_status()} == {"PalLayer"}


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_whole_and_of_their_own(adapt, batch, kind, duplicate):
    model = adapt(kind, "sst", "qqp")
    want = run(model, batch)
    twin = duplicate(model)
    torch.testing.assert_close(run(twin, batch), want, atol=0, rtol=0)
    first, second = (layer.pal_adapters["sst"] for layer in twin.base_model.pal_layers())
    assert first.projections[0] is second.projections[0]
    assert first.down is not next(model.base_model.pal_layers()).pal_adapters["sst"].down
    names = ["sst", "qqp"] * 3
    first.down.weight.data.zero_()
    torch.testing.assert_close(run(model, {**batch, "adapter_names": names})[:7], want[:7])
    twin.unload()
    torch.testing.assert_close(run(model, batch), want, atol=0, rtol=0)


def test_peft_knows_the_method_after_an_import(adapt, tmp_path):
    adapt("bert", "sst").save_pretrained(tmp_path)
    script = (
        "import sys; import hf_multitask.tuners.pal; from peft import PeftConfig, PeftType, TaskType; "
        "config = PeftConfig.from_pretrained(sys.argv[1]); "
        "assert config.peft_type is PeftType.PAL is PeftType('PAL') and PeftType.PAL in list(PeftType)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "sst")], check=True)


@pytest.mark.parametrize("kind", [CamembertModel, XLMRobertaModel])
def test_the_kin_of_roberta(build, adapt, batch, kind):
    """Layers of other names and the same mathematics: on the same weights, the same outputs."""
    model = adapt("roberta", "sst")
    kin = adapt(None, "sst", base=kind(kind.config_class(**build("roberta").config.to_diff_dict())))
    kin.load_state_dict(model.state_dict())
    torch.testing.assert_close(run(kin, batch), run(model, batch))


def test_each_encoder_of_a_model_shares_for_itself(build):
    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.document = build("bert"), build("bert", hidden_size=32)

    model = get_peft_model(Pair(), PalConfig(**OPTIONS))
    first, second, third, fourth = (layer.pal_adapters["default"] for layer in model.base_model.pal_layers())
    assert first.projections == second.projections
    assert third.projections == fourth.projections
    assert first.projections != third.projections
