"""Answers to raw pairs of texts, beside the ways that people get them today."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import pipeline

from ..ensembles.soups import soup
from ..models.modeling_ensemble import EnsembleModel
from ..models.modeling_multitask import MultitaskModel
from ..publishing.onnx_export import export_onnx, open_onnx, read, run_onnx
from .texts import text_rows, tokenizer
from .training import bert
from .turns import Contender
from .workload import Workload

__all__ = ["contenders"]

TASK = "qqp"


def contenders(workload: Workload) -> list[Contender]:
    """Each turn answers the same pairs, in batches of `workload.rows`."""
    count, size = workload.rows * workload.batches, workload.rows
    rows = text_rows(workload, TASK, count)
    first, second = rows["first"][:], rows["second"][:]
    pairs = list(zip(first, second, strict=True))
    members = [member(workload) for _ in range(9)]
    scorer = members[0].to_cross_encoder(TASK)
    classify = pipeline(
        "text-classification",
        model=bert(workload, TASK).eval(),
        tokenizer=tokenizer(workload),
        device=torch.device(workload.device),
    )
    asked = [{"text": one, "text_pair": other} for one, other in pairs]

    def predict(model: Any) -> Callable[[int], None]:
        return lambda i: model.predict(TASK, first, second, batch_size=size)

    calls: dict[str, tuple[Callable[[int], object], float | None]] = {
        "ours": (predict(members[0]), None),
        "transformers.pipeline": (lambda i: classify(asked, batch_size=size), 1.5),
        "CrossEncoder.predict": (lambda i: scorer.predict(pairs, batch_size=size, show_progress_bar=False), 1.3),
        **by_onnx(workload, members[0], first, second),
        "ours, a soup of 3": (predict(soup(members[:3])), None),
        "ours, 3 members": (predict(EnsembleModel.from_members(members[:3])), None),
        "ours, 9 members": (predict(EnsembleModel.from_members(members)), None),
    }
    return [
        Contender(name, in_precision(workload, call), at_least=goal, rows=count, settles=False)
        for name, (call, goal) in calls.items()
    ]


def by_onnx(
    workload: Workload, model: MultitaskModel, first: Sequence[str], second: Sequence[str]
) -> dict[str, tuple[Callable[[int], object], None]]:
    """Our graph under ONNX Runtime, rows sorted by length as ours are; it computes in float32 alone."""
    if workload.bf16 or find_spec("onnxruntime") is None or find_spec("onnxscript") is None:
        return {}
    with TemporaryDirectory() as folder:
        session = open_onnx(export_onnx(model, folder), threads=torch.get_num_threads())

    def answer(i: int) -> None:
        order = sorted(range(len(first)), key=lambda row: -len(first[row]) - len(second[row]))
        for at in range(0, len(order), workload.rows):
            rows = order[at : at + workload.rows]
            run_onnx(session, read(model, [first[row] for row in rows], [second[row] for row in rows]))

    return {"ours, by ONNX Runtime": (answer, None)}


def member(workload: Workload) -> MultitaskModel:
    model = workload.model().eval()
    model.tokenizer = tokenizer(workload)
    return model


def in_precision(workload: Workload, call: Callable[[int], object]) -> Callable[[int], None]:
    def step(i: int) -> None:
        with workload.autocast():
            call(i)

    return step
