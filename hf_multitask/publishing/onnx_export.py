"""A model as one ONNX graph, checked against itself; needs what `pip install hf_multitask[onnx]` brings."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..models.libraries import library
from ..models.modeling_multitask import MultitaskModel

__all__ = ["FILE", "export_onnx", "open_onnx", "read", "run_onnx"]

FILE = Path("onnx", "model.onnx")
SAMPLES = (
    "A fine film.",
    "The soup was superb, but the service was slow.",
    "No.",
    "How does one cook rice, and for how long?",
)
NEAR = 1e-4
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Graph(nn.Module):
    """Padded sequences [rows, length] in, the scores of each task out, over the task's temperature.

    A head of pairs that are encoded apart reads the rows two by two.
    """

    def __init__(self, model: MultitaskModel, inputs: Sequence[str]):
        super().__init__()
        self.model, self.inputs = model, list(inputs)

    def forward(self, *read: Tensor) -> tuple[Tensor, ...]:
        given, config = dict(zip(self.inputs, read, strict=True)), self.model.config
        found, pooled = [], None
        for name in config.tasks:
            if config.adapters:
                self.model.trunk.set_adapter(name)
            if pooled is None or config.adapters:
                pooled = self.pool(given)
            texts = pooled.unflatten(0, (-1, config.texts(name))).unbind(1)
            found.append(self.model.heads[name](*texts) / config.temperatures.get(name, 1.0))
        return tuple(found)

    def pool(self, given: dict[str, Tensor]) -> Tensor:
        output, mask = self.model.trunk(**given), given["attention_mask"][..., None]
        if self.model.config.pooling == "pooler":
            return output.pooler_output
        hidden = output.last_hidden_state
        return hidden[:, 0] if self.model.config.pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1)


def export_onnx(model: PreTrainedModel, folder: str | Path) -> Path:
    """Write `onnx/model.onnx` into a folder, if it gives what the model gives.

    >>> export_onnx(model, "outputs/real")  # doctest: +SKIP
    PosixPath('outputs/real/onnx/model.onnx')
    """
    if not isinstance(model, MultitaskModel):
        raise ValueError(f"A graph holds one model. Got an {type(model).__name__}: export its members one by one.")
    if model.dtype != torch.float32:
        raise ValueError(f"A graph is made of a model in float32. Got {model.dtype}: load it with dtype=torch.float32.")
    path = Path(folder, FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as aside:
        draw_graph(model, Path(aside, FILE.name))
        check(model, Path(aside, FILE.name))
        os.replace(Path(aside, FILE.name), path)
    return path


def draw_graph(model: MultitaskModel, path: Path) -> None:
    """Write a model's graph, whatever it gives."""
    given, tasks = read(model, SAMPLES), list(model.tasks)
    apart = any(model.config.texts(name) == 2 for name in tasks)
    rows: Any = 2 * torch.export.Dim("pairs", min=2) if apart else torch.export.Dim("rows", min=2)
    graph = Graph(model.eval(), list(given)).eval()
    shapes = (tuple({0: rows, 1: torch.export.Dim("length", min=2)} for _ in given),)
    with warnings.catch_warnings():
        # That it names an axis once for all inputs, and what it says of PyTorch's own older parts.
        warnings.filterwarnings("ignore", message="# The axis name")
        warnings.filterwarnings("ignore", category=FutureWarning)
        torch.onnx.export(
            graph,
            tuple(given.values()),
            path,
            input_names=list(given),
            output_names=tasks,
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    forget_traces(path)
    if model.config.adapters:
        model.trunk.set_adapter(tasks)
        model.choose_trained()


def forget_traces(path: Path) -> None:
    """Take out of a graph where the code lay that it was traced from: places on this machine."""
    graph = library("onnx", "load")(str(path))
    parts = [graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output]
    parts += [*graph.functions, *(part for function in graph.functions for part in function.node)]
    parts += [part for function in graph.functions for part in function.value_info]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    library("onnx", "save")(graph, str(path))


def check(model: MultitaskModel, path: Path) -> None:
    """Raise unless the graph gives what the model gives, on rows and lengths that it was not traced with."""
    first = [f"{one} {other}" for one in SAMPLES for other in SAMPLES[:2]]
    second = [f"{one} {other}" for one in SAMPLES[:2] for other in SAMPLES]
    session = open_onnx(path)
    for name, task in model.tasks.items():
        if model.config.texts(name) == 2:
            given = read(model, [text for pair in zip(first, second, strict=True) for text in pair])
        else:
            given = read(model, first, second if task["pair"] else None)
        want = model.predict(name, first, second if task["pair"] else None).scores
        gap = float(np.abs(run_onnx(session, given)[name] - want.numpy()).max())
        if gap > NEAR:
            raise ValueError(
                f"The ONNX graph's scores of '{name}' are {gap:.2g} from the model's, and not within {NEAR:g}."
            )


def read(model: MultitaskModel, first: Sequence[str], second: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Texts, or pairs of them in one sequence each, as the graph reads them."""
    tokens = model.tokenizer(
        list(first),
        None if second is None else list(second),
        padding=True,
        truncation=True,
        max_length=model.config.max_length,
        return_tensors="pt",
    )
    return {name: tokens[name] for name in INPUTS if name in tokens}


def open_onnx(path: str | Path, *, threads: int = 0) -> Any:
    """A graph under ONNX Runtime on the processor; with 0 it takes as many threads as it likes."""
    options = library("onnxruntime", "SessionOptions")()
    options.intra_op_num_threads = threads
    return library("onnxruntime", "InferenceSession")(str(path), options, providers=["CPUExecutionProvider"])


def run_onnx(session: Any, given: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The scores of each task by ONNX Runtime."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {key: value.numpy() for key, value in given.items()}), strict=True))
