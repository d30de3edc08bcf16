import math

import pytest
import torch
from datasets import Dataset
from pretraining_runs import build, encoder_of
from torch import nn

from hf_multitask import CFIMDB, QQP, SST, STS, Classification, Task
from hf_multitask.pretraining.heads import TrainingHead
from hf_multitask.pretraining.stages import ClassRanking, Ranking, SimCSE, build_stage

MOOD = Task("mood", Classification(["sad", "glad"]), pair=True)


def similarities(first, second, temperature):
    for u in first.tolist():
        yield [
            sum(a * b for a, b in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v) / temperature
            for v in second.tolist()
        ]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_simcse_equals_the_reference_under_the_same_dropout(pooling, tmp_path):
    trainer = build(tmp_path, stage={"class": "SimCSE", "dropout": 0.3}, pooling=pooling)
    model = trainer.model.double().train()
    texts = trainer.train_dataset["anchor"][:6]
    features = model.preprocess(texts)
    torch.manual_seed(5)
    loss = trainer.loss([dict(features), dict(features)], None)

    trunk = model[0].model
    torch.manual_seed(5)
    views = []
    for _ in range(2):
        hidden = trunk(input_ids=features["input_ids"], attention_mask=features["attention_mask"]).last_hidden_state
        if pooling == "cls":
            head = model[2].dense
            views.append(torch.tanh(hidden[:, 0] @ head.weight.T + head.bias))
        else:
            mask = features["attention_mask"][:, :, None]
            views.append((hidden * mask).sum(1) / mask.sum(1))
    assert not torch.allclose(*views)
    rows = list(similarities(*views, temperature=0.05))
    expected = sum(math.log(sum(math.exp(s - row[i]) for s in row)) for i, row in enumerate(rows)) / len(rows)
    assert loss.item() == pytest.approx(expected, abs=1e-9)


def test_the_head_is_there_in_training_alone():
    head = TrainingHead(4)
    rows = torch.randn(3, 4)
    assert head.eval()({"sentence_embedding": rows})["sentence_embedding"] is rows
    trained = head.train()({"sentence_embedding": rows})["sentence_embedding"]
    torch.testing.assert_close(trained, torch.tanh(nn.functional.linear(rows, head.dense.weight, head.dense.bias)))


def test_simcse_sets_the_dropout_of_the_trunk_and_not_of_its_configuration():
    encoder = encoder_of(dropout=0.1)
    assert SimCSE(dropout=0.3).prepare(encoder) == []
    assert {module.p for module in encoder.modules() if isinstance(module, nn.Dropout)} == {0.3}
    assert encoder[0].model.config.hidden_dropout_prob == 0.1


def test_length_keeps_the_longer_sentences_and_cuts_them():
    rows = SimCSE(length=4).rows({}, ["abcd", "abcde", "abcdf", "bcdef"])
    assert rows["anchor"][:] == rows["positive"][:] == ["abcd", "bcde"]
    with pytest.raises(ValueError, match="No sentence has more than 9 characters; the longest has 5"):
        SimCSE(length=9).rows({}, ["abcd", "abcde"])


def test_class_ranking_reads_each_sentence_once_and_none_of_two_classes():
    rows = Dataset.from_dict({"first": ["a", "b", "a", "c", "b"], "label": [0, 1, 0, 1, 2]})
    found = ClassRanking("sst").rows({"sst": rows}, [])
    assert found.to_dict() == {"sentence": ["a", "c"], "label": [0, 1]}


@pytest.mark.parametrize(
    ("labels", "parts"),
    [([1] * 5, ["Task 'sst'", "two classes or more"]), ([0, 0, 0, 1, 2], ["one alone of 1, 2"])],
)
def test_class_ranking_says_what_the_rows_lack(labels, parts):
    rows = Dataset.from_dict({"first": list("abcde"), "label": labels})
    stage = ClassRanking("sst")
    with pytest.raises(ValueError, match="Task 'sst'") as caught:
        stage.sampler(stage.rows({"sst": rows}, []), 60, seed=0)
    assert all(part in str(caught.value) for part in parts)


def test_ranking_puts_texts_that_duplicates_connect_into_one_set():
    pairs = [("a", "b", 1), ("c", "b", 1), ("d", "e", 1), ("a", "d", 0), ("f", "f", 1), ("d", "e", 1)]
    first, second, label = zip(*pairs, strict=True)
    rows = Ranking().rows({"qqp": Dataset.from_dict({"first": first, "second": second, "label": label})}, [])
    assert list(zip(rows["anchor"][:], rows["positive"][:], strict=True)) == [("a", "b"), ("c", "b"), ("d", "e")]
    one, same, other = rows["label"][:]
    assert one == same != other
    with pytest.raises(ValueError, match="Task 'qqp' has no pair that is a duplicate"):
        Ranking().rows({"qqp": Dataset.from_dict({"first": ["a"], "second": ["b"], "label": [0]})}, [])


@pytest.mark.parametrize("task", [SST, CFIMDB, QQP, STS, MOOD], ids=lambda task: task.name)
def test_a_stage_says_which_tasks_it_can_read(task):
    assert (ClassRanking(task.name).complaint(task) is None) == (task in (SST, CFIMDB))
    assert (Ranking(task.name).complaint(task) is None) == (task is QQP)
    assert SimCSE().complaint(task) is None


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({"class": "SimCSE", "temperature": 0}, "temperature must be above zero"),
        ({"class": "SimCSE", "dropout": 0}, "dropout must be above 0"),
        ({"class": "SimCSE", "length": 0}, "length must be 1 or more"),
        ({"class": "ClassRanking", "scale": 0}, "scale must be above zero"),
        ({"class": "Ranking", "scale": -1}, "scale must be above zero"),
        ({"class": "SimCES"}, "Did you mean 'SimCSE'"),
    ],
)
def test_a_stage_checks_its_values(spec, part):
    with pytest.raises(ValueError, match=part):
        build_stage(spec)
