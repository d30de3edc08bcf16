import copy
import itertools

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AttentionInterface, AutoModel, BertConfig, BertForPreTraining, BertModel, RobertaConfig

from hf_multitask import MinBertConfig, MinBertModel
from hf_multitask.models.packing import Packing

LENGTHS = (7, 1, 12, 4)


@pytest.fixture
def bert(small):
    options = {**small.to_dict(), "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    return BertModel(BertConfig(**{key: value for key, value in options.items() if key not in ("unpad", "model_type")}))


@pytest.fixture
def batch(small):
    ids = torch.randint(5, small.vocab_size, (len(LENGTHS), max(LENGTHS)))
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.randint(0, 2, ids.shape)}


@pytest.fixture(params=[False, True], ids=["whole", "in blocks"])
def blocks(request, monkeypatch):
    """Whether attention goes over a few neighbouring sequences at a time, however little that spares."""
    if request.param:
        monkeypatch.setattr("hf_multitask.models.packing.WORTH", 0)
    return request.param


@pytest.fixture
def saved(bert, tmp_path):
    bert.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("unpad", [True, False])
def test_hidden_states_equal_those_of_bert(bert, saved, batch, attention, unpad, blocks):
    ours = MinBertModel.from_pretrained(saved, attn_implementation=attention, unpad=unpad)
    theirs = BertModel.from_pretrained(saved, attn_implementation=attention)
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        got, want = ours(**batch), theirs(**batch)
    torch.testing.assert_close(got.last_hidden_state[real], want.last_hidden_state[real], atol=1e-5, rtol=0)
    torch.testing.assert_close(got.pooler_output, want.pooler_output, atol=1e-5, rtol=0)


def test_gradients_equal_those_of_bert(saved, batch, blocks):
    assert blocks == (len(Packing.from_mask(batch["attention_mask"]).blocks()) > 1)
    ours, theirs = MinBertModel.from_pretrained(saved), BertModel.from_pretrained(saved)
    weight = torch.randn(*batch["input_ids"].shape, 16) * batch["attention_mask"][..., None]
    for model in (ours, theirs):
        (model(**batch).last_hidden_state * weight).sum().backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4, msg=name)


def test_flat_input_equals_padded_input(saved, batch):
    model = MinBertModel.from_pretrained(saved)
    packing = Packing.from_mask(batch["attention_mask"])
    flat = model(
        packing.unpad(batch["input_ids"]), token_type_ids=packing.unpad(batch["token_type_ids"]), packing=packing
    )
    padded = model(**batch)
    torch.testing.assert_close(packing.pad(flat.last_hidden_state), padded.last_hidden_state)
    torch.testing.assert_close(flat.pooler_output, padded.pooler_output)


def test_padding_anywhere_changes_nothing(saved, batch):
    model = MinBertModel.from_pretrained(saved)
    clean = model(**batch).last_hidden_state
    noisy = {**batch, "input_ids": torch.where(batch["attention_mask"].bool(), batch["input_ids"], 9)}
    torch.testing.assert_close(model(**noisy).last_hidden_state, clean, atol=0, rtol=0)


def test_saves_what_bert_loads(saved, batch, tmp_path):
    ours = MinBertModel.from_pretrained(saved)
    ours.save_pretrained(tmp_path / "ours")
    theirs = BertModel.from_pretrained(tmp_path / "ours")
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(theirs(**batch).last_hidden_state[real], ours(**batch).last_hidden_state[real])


def test_loads_a_pretraining_checkpoint_with_old_names(bert, batch, tmp_path):
    full = BertForPreTraining(bert.config)
    full.bert.load_state_dict(bert.state_dict())
    full.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    old = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in weights.items()
    }
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded, report = MinBertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    real = batch["attention_mask"].bool()
    want = bert.eval()(**batch).last_hidden_state[real]
    torch.testing.assert_close(loaded(**batch).last_hidden_state[real], want, atol=1e-5, rtol=0)


def test_auto_classes_know_minbert(saved, tmp_path):
    MinBertModel.from_pretrained(saved).save_pretrained(tmp_path / "ours")
    assert type(AutoModel.from_pretrained(tmp_path / "ours")) is MinBertModel


def test_gradient_checkpointing_leaves_gradients_alone(saved, batch):
    plain, frugal = (MinBertModel.from_pretrained(saved).train() for _ in range(2))
    frugal.activation_checkpointing_enable()
    assert frugal.is_activation_checkpointing
    for model in (plain, frugal):
        torch.manual_seed(3)
        model(**batch).last_hidden_state.square().sum().backward()
    for mine, other in zip(plain.parameters(), frugal.parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad)


def test_records_padded_hidden_states_and_attentions(saved, batch):
    model = MinBertModel.from_pretrained(saved, attn_implementation="eager")
    output = model(**batch, output_hidden_states=True, output_attentions=True)
    assert [h.shape for h in output.hidden_states] == [(4, 12, 16)] * 3
    assert [a.shape for a in output.attentions] == [(4, 4, 12, 12)] * 2


def test_variable_length_attention_gets_flat_tokens(saved, batch):
    """A stand-in for flash attention, which runs on other devices: a loop over the sequences it is told of."""

    def reference(module, query, key, value, mask, *, scaling, cu_seq_lens_q, max_length_q, **_):
        assert mask is None
        assert query.shape[:3] == (1, 4, sum(LENGTHS))
        assert max_length_q == max(LENGTHS)
        ends = cu_seq_lens_q.tolist()
        parts = [
            torch.softmax(query[:, :, a:b] @ key[:, :, a:b].mT * scaling, -1) @ value[:, :, a:b]
            for a, b in itertools.pairwise(ends)
        ]
        return torch.cat(parts, dim=2).transpose(1, 2), None

    AttentionInterface.register("reference_flash", reference)
    model = MinBertModel.from_pretrained(saved)
    want = model(**batch).last_hidden_state
    model.config._attn_implementation = "reference_flash"
    torch.testing.assert_close(model(**batch).last_hidden_state, want, atol=1e-5, rtol=0)


def test_compiles_to_one_graph(saved, batch):
    model = MinBertModel.from_pretrained(saved)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    real = batch["attention_mask"].bool()
    got = compiled(**batch).last_hidden_state
    torch.testing.assert_close(got[real], model(**batch).last_hidden_state[real])


def test_weights_missing_from_a_checkpoint_are_initialised(saved):
    weights = load_file(saved / "model.safetensors")
    del weights["pooler.dense.weight"]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    model = MinBertModel.from_pretrained(saved)
    assert 0.01 < model.pooler.dense.weight.std() < 0.03


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"is_decoder": True}, "is_decoder"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"hidden_size": 18}, "no multiple"),
        ({"num_attention_heads": 0}, r"num_attention_heads = 0 \(1 is the least\)"),
        ({"hidden_size": -16}, r"hidden_size = -16 \(1 is the least\)"),
        ({"num_hidden_layers": 0}, r"num_hidden_layers = 0 \(1 is the least\)"),
    ],
)
def test_refuses_what_is_not_minbert(small, change, complaint):
    options = {**copy.deepcopy(small.to_dict()), **change}
    with pytest.raises(ValueError, match=complaint):
        MinBertConfig(**options)


def test_refuses_another_architecture(tmp_path):
    RobertaConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"Got a 'roberta' model"):
        MinBertModel.from_pretrained(tmp_path)


def test_too_long_sequences_are_named(saved):
    model = MinBertModel.from_pretrained(saved)
    with pytest.raises(ValueError, match=r"64 tokens at most\. Got 65"):
        model(torch.ones(1, 65, dtype=torch.long))


@pytest.mark.parametrize("empty", [0, -1])
def test_a_row_without_words_harms_no_other(saved, batch, empty):
    model = MinBertModel.from_pretrained(saved).eval()
    mask = batch["attention_mask"].clone()
    mask[empty] = 0
    others = [row for row in range(len(mask)) if row != empty % len(mask)]
    found = model(**{**batch, "attention_mask": mask}).pooler_output[others]
    torch.testing.assert_close(found, model(**batch).pooler_output[others])
