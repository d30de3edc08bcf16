from copy import deepcopy

import pytest
import torch
from batches import FIRST, SECOND
from peft import LoraConfig
from transformers import AutoModel, BertTokenizerFast

from hf_multitask import QQP, SST, STS, EnsembleModel, MultitaskConfig, MultitaskModel, PalConfig
from hf_multitask.ensembles.soups import misfits, soup


@pytest.fixture
def build(small, tokenizer):
    def built(seed, *, tasks=(SST, QQP, STS), tuner=None, **options):
        torch.manual_seed(seed)
        described = {task.name: task.describe() for task in tasks}
        made = MultitaskModel(MultitaskConfig(trunk=deepcopy(small), tasks=described, **options))
        made.tokenizer = tokenizer
        if tuner:
            made.add_adapters(tuner)
        return made

    return built


def test_a_soup_of_equal_models_is_that_model_to_the_bit(build):
    model = build(1)
    for count in (1, 2, 3):
        for name, weight in soup([model] * count).state_dict().items():
            assert torch.equal(weight, model.state_dict()[name]), name


def test_every_weight_is_the_mean_by_the_priors(build):
    models = [build(seed) for seed in range(3)]
    mixed = soup(models, [1, 0, 3]).state_dict()
    for name, weight in mixed.items():
        one, _, other = (model.state_dict()[name] for model in models)
        if weight.is_floating_point():
            torch.testing.assert_close(weight, (one + 3 * other) / 4)
        else:
            assert torch.equal(weight, one)


def test_it_is_a_plain_model_with_its_adapters_too(build, tmp_path):
    models = [build(seed, tuner=PalConfig(width=4, heads=2)) for seed in range(2)]
    for model in models:
        for name, parameter in model.named_parameters():
            if ".sst" in name:
                torch.nn.init.normal_(parameter)
    before = models[0].predict("sst", FIRST).scores
    mixed = soup(models)
    mixed.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, MultitaskModel)
    torch.testing.assert_close(loaded.predict("sst", FIRST).scores, mixed.predict("sst", FIRST).scores)
    assert torch.equal(models[0].predict("sst", FIRST).scores, before)


def test_what_only_training_knows_does_not_matter(build):
    one, other = build(0, dropout=0.0), build(1, dropout=0.5, freeze_trunk=True)
    other.config.trunk.hidden_dropout_prob = 0.3
    # sentence-transformers leaves it so in a first stage's trunk.
    other.config.trunk.use_cache = False
    assert not misfits([one, other])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tasks": (SST, QQP)}, "Member 1 has other tasks: sst, qqp, not sst, qqp, sts"),
        ({"pooling": "cls"}, "another pooling: cls, not mean"),
        ({"max_length": 9}, "another max_length: 9, not 128"),
        ({"tuner": PalConfig(width=4, heads=2)}, "another use of adapters"),
    ],
)
def test_models_of_another_kind_are_refused_with_the_reason(options, reason, build):
    with pytest.raises(ValueError, match=reason):
        soup([build(0), build(1, **options)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PalConfig(width=4, heads=2), PalConfig(width=4, heads=1)),
        (
            LoraConfig(r=2, lora_alpha=4, target_modules=["query"]),
            LoraConfig(r=2, lora_alpha=64, target_modules=["query"]),
        ),
    ],
)
def test_adapters_whose_weights_mean_other_things_are_refused(one, other, build):
    with pytest.raises(ValueError, match="Member 1 has another adapter for sst"):
        soup([build(0, tuner=one), build(1, tuner=other)])


def test_another_head_trunk_or_tokenizer_is_refused_with_the_reason(build, small):
    one, other = build(0), build(1)
    other.config.tasks["sst"]["head"] = {"class": "MLP", "hidden": 3}
    assert "another head for sst: {'class': 'MLP', 'hidden': 3}" in misfits([one, other])[0]
    small.intermediate_size = 8
    assert "another intermediate_size of the trunk: 8, not 32" in misfits([one, build(1)])[0]
    small.intermediate_size = 32
    third = build(2)
    third.tokenizer = BertTokenizerFast(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4})
    assert misfits([one, third]) == ["Member 1 has another tokenizer."]
    assert "Member 1 is an ensemble" in misfits([one, EnsembleModel.from_members([third])])[0]
    with pytest.raises(ValueError, match=r"as many weights of zero or more\. Got \[1\]"):
        soup([one, build(1)], [1])


def test_it_answers_pairs(build):
    assert soup([build(0), build(1)]).predict("qqp", FIRST, SECOND).labels
