import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from transformers import BertModel, RobertaConfig, RobertaModel

from hf_multitask import QQP, STS, Binary, Classification, MultitaskConfig, MultitaskModel, Regression, Task, evaluate
from hf_multitask.models.encoding import encode, flatten
from hf_multitask.tuners.methods import build_tuner

FIRST = ["the film was good", "a dog sat on the mat", "how do i cook rice", "the cat is quite dull" * 9]
SECOND = ["a fine film", "the cat ran", "rice", "dull dull dull"]
PAIRS = list(zip(FIRST, SECOND, strict=True))
MOOD = Task("mood", Classification(["sad", "so so", "glad"]), pair=True)
BOUNDED = Task("bounded", Regression(1, 4, bounded=True), pair=True, metric="pearson")


def built(small, tokenizer, *tasks, **options):
    described = {task.name: task.describe() for task in tasks}
    model = MultitaskModel(MultitaskConfig(trunk=small, tasks=described, dropout=0.1, max_length=16, **options))
    model.tokenizer = tokenizer
    return model


def pooled(model, texts, task=None):
    """What the model's heads would read."""
    model.eval()
    batch = flatten(encode(model.tokenizer, texts, max_length=model.config.max_length))
    seen = []
    head = model.heads[task or next(iter(model.heads))]
    handle = head.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(**batch, rows={task or next(iter(model.heads)): torch.arange(len(texts))})
    handle.remove()
    return seen[0]


def saved(exported, folder):
    exported.save_pretrained(str(folder), create_model_card=False)
    return type(exported)(str(folder), device="cpu")


def test_a_temperature_is_part_of_the_scores(small, tokenizer):
    model = built(small, tokenizer, QQP, temperatures={"qqp": 2.5})
    found = model.to_cross_encoder("qqp").predict(PAIRS, activation_fn=torch.nn.Identity(), convert_to_tensor=True)
    torch.testing.assert_close(found, model.predict("qqp", FIRST, SECOND).scores[:, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
def test_a_sentence_transformer_gives_the_pooled_rows(pooling, small, tokenizer, tmp_path):
    model = built(small, tokenizer, Task("one", Binary()), pooling=pooling)
    exported = model.to_sentence_transformer()
    assert type(exported[0].model) is BertModel
    expected = pooled(model, FIRST)
    for encoder in (exported, saved(exported, tmp_path)):
        vectors = encoder.encode(FIRST, convert_to_tensor=True)
        torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


def test_another_encoder_is_exported_as_it_is(tokenizer, tmp_path):
    size = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = RobertaConfig(**size, intermediate_size=32, max_position_embeddings=40, pad_token_id=0)
    model = built(config, tokenizer, Task("one", Binary()))
    exported = saved(model.to_sentence_transformer(), tmp_path)
    assert type(exported[0].model) is RobertaModel
    torch.testing.assert_close(exported.encode(FIRST, convert_to_tensor=True), pooled(model, FIRST), atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", [{"class": "Linear"}, {"class": "MLP", "hidden": 6}])
@pytest.mark.parametrize("task", [QQP, STS, MOOD, BOUNDED], ids=lambda task: task.name)
@pytest.mark.parametrize("pooling", ["mean", "pooler"])
def test_a_cross_encoder_gives_the_scores(pooling, task, head, small, tokenizer, tmp_path):
    task = Task(task.name, task.objective, pair=True, metric=task.metric, head=head)
    model = built(small, tokenizer, task, pooling=pooling)
    expected = model.predict(task.name, FIRST, SECOND)
    exported = model.to_cross_encoder(task.name)
    for encoder in (exported, saved(exported, tmp_path)):
        scores = encoder.predict(PAIRS, activation_fn=torch.nn.Identity(), convert_to_tensor=True)
        torch.testing.assert_close(scores.view(len(PAIRS), -1), expected.scores, atol=1e-5, rtol=0)
        answer = encoder.predict(PAIRS, convert_to_tensor=True)
        if task is not MOOD and task.name == "qqp":
            torch.testing.assert_close(answer, expected.probabilities[:, 1], atol=1e-5, rtol=0)
        elif task.name == "bounded":
            torch.testing.assert_close(1 + 3 * answer, expected.values, atol=1e-5, rtol=0)
        elif task.name == "mood":
            chances = encoder.predict(PAIRS, apply_softmax=True, convert_to_tensor=True)
            torch.testing.assert_close(chances, expected.probabilities, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task("one", Binary()), "'one' reads one text"),
        (Task("two", Binary(), pair=True, head={"class": "Concat"}), "under the head Concat"),
        (
            Task("near", Regression(0, 5), pair=True, metric="pearson", head={"class": "Cosine"}),
            "under the head Cosine",
        ),
    ],
)
def test_what_a_cross_encoder_cannot_say_is_refused(task, message, small, tokenizer):
    with pytest.raises(ValueError, match=message):
        built(small, tokenizer, task).to_cross_encoder(task.name)


def test_an_adapter_merges_where_it_can(small, tokenizer):
    model = built(small, tokenizer, QQP, Task("one", Binary()))
    model.add_adapters(build_tuner({"class": "LoraConfig", "r": 2, "init_lora_weights": False}))
    vectors = model.to_sentence_transformer("one").encode(FIRST, convert_to_tensor=True)
    torch.testing.assert_close(vectors, pooled(model, FIRST, "one"), atol=1e-5, rtol=0)
    scores = model.to_cross_encoder("qqp").predict(PAIRS, activation_fn=torch.nn.Identity(), convert_to_tensor=True)
    torch.testing.assert_close(scores[:, None], model.predict("qqp", FIRST, SECOND).scores, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="one of qqp, one"):
        model.to_sentence_transformer()
    with pytest.raises(ValueError, match="Unknown task 'tow'"):
        model.to_sentence_transformer("tow")


def test_a_pal_does_not_merge(small, tokenizer):
    model = built(small, tokenizer, QQP)
    model.add_adapters(build_tuner({"class": "Pal", "width": 12}))
    with pytest.raises(ValueError, match=r"adapter of 'qqp' \(PAL\) does not merge"):
        model.to_sentence_transformer("qqp")


def test_our_evaluator_agrees_with_theirs(small, tokenizer, rows):
    task = Task("sts", Regression(0, 5), pair=True, metric="pearson", head={"class": "Cosine"})
    model = built(small, tokenizer, task)
    data = rows["sts"]
    labels = np.asarray(data["label"][:], dtype=float)
    theirs = EmbeddingSimilarityEvaluator(
        data["first"][:], data["second"][:], labels, main_similarity="cosine", name="sts", write_csv=False
    )(model.to_sentence_transformer())
    ours = evaluate(model, {"sts": data}).tasks["sts"]
    for metric in ("pearson", "spearman"):
        assert ours[metric] == pytest.approx(theirs[f"sts_{metric}_cosine"], abs=1e-5)


LOADING = """
import json, sys
import hf_multitask
from transformers import AutoModel
model = AutoModel.from_pretrained(sys.argv[1])
model.predict("qqp", ["a"], ["b"])
print(json.dumps([name for name in sys.modules if name.startswith("sentence_transformers")]))
"""


def test_who_only_loads_a_model_does_without_the_library(small, tokenizer, tmp_path):
    built(small, tokenizer, QQP).save_pretrained(tmp_path)
    done = subprocess.run([sys.executable, "-c", LOADING, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
