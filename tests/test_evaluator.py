import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy import stats
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

import hf_multitask
from hf_multitask.evaluator import evaluate
from hf_multitask.metrics import bootstrap
from hf_multitask.models.objectives import Classification, Prediction, build_objective
from hf_multitask.report import Report
from hf_multitask.tasks import QQP, SICK, SST, STS, Task
from hf_multitask.training.curves import NotFinite

SIZES = (1, 2, 7, 10)


class Fake:
    """A predictor whose scores are drawn by the number that each first text is."""

    def __init__(self, *tasks: Task):
        self.tasks = {task.name: task.describe() for task in tasks}
        self.sizes: list[int] = []

    def predict(self, task: str, first: list[str], second: list[str] | None = None) -> Prediction:
        assert (second is not None) == self.tasks[task]["pair"]
        self.sizes.append(len(first))
        objective = build_objective(self.tasks[task]["objective"])
        scores = [2 * np.random.default_rng(int(text)).normal(size=objective.outputs) for text in first]
        return objective.decode(torch.tensor(np.array(scores), dtype=torch.float32))


class Fixed(Fake):
    """A predictor that gives the same scores whatever it reads."""

    def __init__(self, task: Task, scores: list[list[float]]):
        super().__init__(task)
        self.scores = torch.tensor(scores)

    def predict(self, task, first, second=None):
        return build_objective(self.tasks[task]["objective"]).decode(self.scores)


def rows(task: Task, n: int) -> Dataset:
    draw = np.random.default_rng(n)
    classes = task.objective.labels
    labels = draw.integers(0, len(classes), n) if classes else draw.integers(0, 11, n) / 2
    texts = [str(i) for i in range(n)]
    return Dataset.from_dict({"first": texts, **({"second": texts} if task.pair else {}), "label": labels})


def sst(labels: list) -> Dataset:
    return Dataset.from_dict({"first": [str(i) for i in range(len(labels))], "label": labels})


def test_report_equals_its_oracles():
    fake, data = Fake(SST, QQP, STS), {task.name: rows(task, 90) for task in (SST, QQP, STS)}
    report = evaluate(fake, data, split="test", resamples=50, seed=3, trunk="fake", recipe="none")
    answers = {name: fake.predict(name, data[name]["first"][:], data[name]["first"][:]) for name in ("qqp", "sts")}
    answers["sst"] = fake.predict("sst", data["sst"]["first"][:])
    labels = {name: np.array(data[name]["label"][:]) for name in data}
    values = {name: answers[name].values.double().numpy() for name in data}
    for name, average in (("sst", "macro"), ("qqp", "binary")):
        entry = report.tasks[name]
        assert entry["accuracy"] == accuracy_score(labels[name], values[name])
        assert entry["f1"] == pytest.approx(f1_score(labels[name], values[name], average=average))
        assert entry["confusion"] == confusion_matrix(labels[name], values[name]).tolist()
        assert entry["ci95"] == list(bootstrap("accuracy", values[name], labels[name], resamples=50, seed=3))
    entry = report.tasks["sts"]
    assert entry["pearson"] == pytest.approx(stats.pearsonr(values["sts"], labels["sts"]).statistic)
    assert entry["spearman"] == pytest.approx(stats.spearmanr(values["sts"], labels["sts"]).statistic)
    assert "confusion" not in entry
    accuracies = report.tasks["sst"]["accuracy"], report.tasks["qqp"]["accuracy"]
    assert report.score == pytest.approx(np.mean([*accuracies, (entry["pearson"] + 1) / 2]))
    assert (report.seed, report.trunk, report.about) == (3, "fake", {"recipe": "none"})
    assert {entry["split"] for entry in report.tasks.values()} == {"test"}
    assert report.examples_per_second == pytest.approx(270 / report.seconds)


def test_loss_equals_a_slow_loop():
    data = {task.name: rows(task, 20) for task in (SST, QQP, STS)}
    fake = Fake(SST, QQP, STS)
    report = evaluate(fake, data, resamples=10)
    total = {"sst": 0.0, "qqp": 0.0, "sts": 0.0}
    for name in total:
        texts = data[name]["first"][:]
        scores = fake.predict(name, texts, texts if fake.tasks[name]["pair"] else None).scores.double().numpy()
        for s, label in zip(scores, data[name]["label"], strict=True):
            if name == "sst":
                total[name] += np.log(np.exp(s).sum()) - s[label]
            elif name == "qqp":
                total[name] += np.log(1 + np.exp(-s[0] if label else s[0]))
            else:
                total[name] += (s[0] - label) ** 2
        assert report.tasks[name]["loss"] == pytest.approx(total[name] / 20)


def test_own_metric_comes_first_and_scored_tasks_alone_count():
    ranked = Task("ranked", STS.objective, metric="spearman")
    report = evaluate(Fake(ranked, SICK), {task.name: rows(task, 30) for task in (ranked, SICK)}, resamples=10)
    keys = list(report.tasks["ranked"])
    assert keys.index("spearman") < keys.index("pearson")
    assert report.score == pytest.approx((report.tasks["ranked"]["spearman"] + 1) / 2)
    alone = evaluate(Fake(ranked, SICK), {"sick": rows(SICK, 30)}, resamples=10)
    assert alone.score == pytest.approx((alone.tasks["sick"]["pearson"] + 1) / 2)


def test_f1_is_macro_where_only_two_of_five_classes_occur():
    report = evaluate(Fixed(SST, [[1.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0]]), {"sst": sst([0, 1])}, resamples=10)
    assert report.tasks["sst"]["f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_half_precision_predictions_and_formatted_rows_are_fine():
    class Half(Fake):
        def predict(self, task, first, second=None):
            answer = super().predict(task, first, second)
            return Prediction(answer.scores.bfloat16(), answer.values.bfloat16())

    data = rows(STS, 20)
    report = evaluate(Half(STS), {"sts": data.add_column("input_ids", [[1]] * 20).with_format("torch")}, resamples=10)
    assert report.tasks["sts"]["pearson"] == pytest.approx(
        evaluate(Fake(STS), {"sts": data}, resamples=10).values["sts"], abs=0.02
    )


def test_an_infinite_loss_is_left_out_with_its_reason():
    report = evaluate(Fixed(SST, [[0.0, float("-inf"), 0, 0, 0]]), {"sst": sst([1])}, resamples=10)
    assert report.tasks["sst"]["loss"] is None
    assert "no probability" in json.loads(report.to_json())["tasks"]["sst"]["loss_reason"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "nothing to evaluate"),
        ({"stt": sst([1])}, "Unknown task 'stt'. Did you mean 'sst'"),
        ({"sst": sst([])}, "task 'sst' is empty"),
        ({"sst": sst([1]).remove_columns("label")}, "task 'sst' has rows without a label"),
        ({"sst": sst([1, None])}, "task 'sst' has rows without a label"),
        ({"sst": sst([-1, 1])}, "task 'sst': label -1 is not one of the ids 0 to 4"),
        ({"sst": sst([1]).rename_column("first", "text")}, "needs first. Its columns are text, label"),
        ({"qqp": sst([1])}, "task 'qqp' needs second"),
    ],
)
def test_data_that_cannot_be_judged_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Fake(SST, QQP), data)


def test_every_fault_is_in_one_message():
    with pytest.raises(ValueError, match=r"(?s)Unknown task 'stt'.*'qqp' needs second.*'sst' is empty"):
        evaluate(Fake(SST, QQP), {"stt": sst([1]), "qqp": sst([1]), "sst": sst([])})


def test_a_metric_of_another_kind_is_refused():
    odd = Task("odd", Classification(["a", "b"]), metric="pearson")
    with pytest.raises(ValueError, match=r"Unknown metric of task 'odd': 'pearson'\. Choices: accuracy, f1\."):
        evaluate(Fake(odd), {"odd": sst([1])})


def test_too_few_answers_and_diverged_scores_are_refused():
    with pytest.raises(ValueError, match=r"gave 2 rows to the predictor and needs as many answers\. Got 1 scores"):
        evaluate(Fixed(SST, [[1.0, 0, 0, 0, 0]]), {"sst": sst([0, 1])})
    with pytest.raises(NotFinite, match="not numbers in 1 of 2 rows: the model has diverged"):
        evaluate(Fixed(SST, [[1.0, 0, 0, 0, 0], [float("nan")] * 5]), {"sst": sst([0, 1])})


def test_two_processes_find_what_one_finds(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    root = str(Path(hf_multitask.__file__).parents[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    place |= {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path / f"{rank}.json")],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, complaint = process.communicate(timeout=120)
            assert process.returncode == 0, complaint
    finally:
        for process in processes:
            process.kill()
    reports = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert reports[0] == reports[1]
    for n, report in zip(SIZES, reports[0], strict=True):
        assert report["tasks"] == judge(n, distributed=False).to_dict()["tasks"]
        assert report["about"] == {"predicted": [-(-n // 2)] * 2}


def judge(n: int, *, distributed: bool) -> Report:
    fake = Fake(SST, STS)
    report = evaluate(fake, {task.name: rows(task, n) for task in (SST, STS)}, resamples=20, distributed=distributed)
    report.about["predicted"] = fake.sizes
    return report


if __name__ == "__main__":
    found = [judge(n, distributed=True).to_dict() for n in SIZES]
    Path(sys.argv[1]).write_text(json.dumps(found))
    torch.distributed.destroy_process_group()
