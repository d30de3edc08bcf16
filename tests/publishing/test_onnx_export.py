"""The model as a graph, beside the model itself."""

import dataclasses
from pathlib import Path

import pytest
import torch
from batches import FIRST, SECOND

from hf_multitask import SST, STS, EnsembleModel, MultitaskConfig, MultitaskModel, PalConfig
from hf_multitask.publishing import onnx_export
from hf_multitask.publishing.onnx_export import export_onnx, open_onnx, read, run_onnx

APART = dataclasses.replace(STS, head={"class": "Cosine"})


def test_the_graph_gives_what_the_model_gives(small, tokenizer, tmp_path, monkeypatch):
    small.num_hidden_layers = 1
    tasks = {task.name: task.describe() for task in (SST, APART)}
    model = MultitaskModel(MultitaskConfig(trunk=small, tasks=tasks, max_length=32, temperatures={"sst": 2.0}))
    model.tokenizer = tokenizer
    model.add_adapters(PalConfig(width=4, heads=2, init_weights=False))
    path = export_onnx(model, tmp_path)
    assert str(Path(onnx_export.__file__).parents[1]).encode() not in path.read_bytes()
    assert b"site-packages" not in path.read_bytes()
    texts = [text for pair in zip(FIRST, SECOND, strict=True) for text in pair]
    found = run_onnx(open_onnx(path), read(model, texts))
    torch.testing.assert_close(torch.tensor(found["sst"]), model.predict("sst", texts).scores, atol=1e-5, rtol=0)
    want = model.predict("sts", FIRST, SECOND).scores
    torch.testing.assert_close(torch.tensor(found["sts"]), want, atol=1e-5, rtol=0)
    assert all(parameter.requires_grad for name, parameter in model.named_parameters() if "pooler" not in name)
    before = path.read_bytes()
    monkeypatch.setattr(onnx_export, "NEAR", -1.0)
    with pytest.raises(ValueError, match="from the model's"):
        export_onnx(model, tmp_path)
    assert path.read_bytes() == before
    assert [part.name for part in path.parent.iterdir()] == [path.name]
    with pytest.raises(ValueError, match=r"load it with dtype=torch\.float32"):
        export_onnx(model.to(torch.bfloat16), tmp_path)


def test_an_ensemble_is_no_graph(model, tmp_path):
    with pytest.raises(ValueError, match="export its members one by one"):
        export_onnx(EnsembleModel.from_members([model]), tmp_path)
