import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_multitask import QQP, SST, STS, MultitaskTrainer, MultitaskTrainingArguments
from hf_multitask.data.encoded import EncodedTask, encode_task
from hf_multitask.ensembles.distillation import soften
from hf_multitask.models.objectives import Classification

CORE = {task.name: task.objective for task in (SST, QQP, STS)}


@pytest.fixture
def soft(rows):
    scores = {name: torch.randn(len(rows[name]), CORE[name].outputs) for name in CORE}
    return scores, {name: soften(rows[name], scores[name], CORE[name]) for name in CORE}


def test_labels_become_the_teachers_answers(rows, soft):
    scores, softened = soft
    for name, objective in CORE.items():
        wanted = objective.answers(scores[name]).numpy()
        wanted = wanted if name == "sst" else wanted[:, -1]
        np.testing.assert_allclose(np.array(softened[name]["label"][:]), wanted, atol=1e-6)
        assert softened[name]["first"][:] == rows[name]["first"][:]


def test_without_trust_they_stay_what_they_are(rows):
    for name, objective in CORE.items():
        scores = torch.randn(len(rows[name]), objective.outputs)
        labels = np.array(soften(rows[name], scores, objective, trust=0)["label"][:])
        np.testing.assert_allclose(labels.argmax(-1) if name == "sst" else labels, rows[name]["label"][:], atol=1e-6)


def test_mixed_labels_have_the_mixed_loss(rows):
    objective = Classification("abcde")
    scores, other = torch.randn(2, 37, 5)
    mixed = torch.tensor(soften(rows["sst"], other, objective, trust=0.3)["label"][:])
    hard = torch.tensor(rows["sst"]["label"][:])
    wanted = 0.3 * objective.loss(scores, other.softmax(-1)) + 0.7 * objective.loss(scores, hard)
    torch.testing.assert_close(objective.loss(scores, mixed), wanted)


def test_hard_labels_as_distributions_have_the_same_loss():
    objective, scores, labels = Classification("abc"), torch.randn(9, 3), torch.randint(3, (9,))
    torch.testing.assert_close(objective.loss(scores, torch.eye(3)[labels]), objective.loss(scores, labels))


def test_soft_labels_reach_the_batch(model, soft):
    _, softened = soft
    kept = EncodedTask(encode_task(softened["sst"], "sst", model.config, model.tokenizer))
    np.testing.assert_allclose(kept.labels, np.array(softened["sst"]["label"][:]))
    assert kept.labels.dtype == np.float32


def test_the_ordinary_trainer_learns_what_the_teacher_says(model, rows, tmp_path):
    # A teacher that no label agrees with.
    says = {"sst": 3, "qqp": 1, "sts": 1.0}
    peaks = {name: torch.zeros(len(rows[name]), CORE[name].outputs) for name in CORE}
    peaks["sst"][:, 3], peaks["qqp"][:], peaks["sts"][:] = 6, 6, 1
    arguments = MultitaskTrainingArguments(
        str(tmp_path), learning_rate=1e-2, num_train_epochs=12, per_device_train_batch_size=16, disable_tqdm=True,
        save_strategy="no", eval_strategy="no", load_best_model_at_end=False,
    )  # fmt: skip
    taught: dict[str, Dataset] = {name: soften(rows[name], peaks[name], CORE[name]) for name in CORE}
    trainer = MultitaskTrainer(model, arguments, train_dataset=taught, eval_dataset=rows)
    trainer.train()
    for name, answer in says.items():
        second = rows[name]["second"][:] if name != "sst" else None
        values = model.predict(name, rows[name]["first"][:], second).values.double()
        assert (values - answer).abs().mean() < 0.3, name
    assert set(trainer.evaluate()) >= {"eval_sst_accuracy", "eval_score"}
