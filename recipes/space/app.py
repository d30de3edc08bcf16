"""A page around a published model or ensemble: type one or two sentences, see what each task says of them.

`MODEL` names it, and `REVISION` a branch, tag or commit: MODEL=me/model python recipes/space/app.py
"""

import os
from typing import Any

import gradio
from transformers import AutoModel

EXAMPLES = [
    ["Although the soup was superb, the service was terrible.", ""],
    ["Did the cat chase the mouse?", "Was the cat chased by the mouse?"],
    ["A woman gives a book to a kid.", "A lady hands a child a novel."],
]


def bars(model, name, first, second):
    """What a model answers to a task as shares of one: a label's probability, or a number's way along its range."""
    task = model.tasks[name]
    found = model.predict(name, [first], [second] if task["pair"] else None)
    if found.names is not None:
        return dict(zip(found.names, found.probabilities[0].tolist(), strict=True))
    low, high, value = task["objective"]["low"], task["objective"]["high"], found.values[0].item()
    return {f"{value:.2f} of {high:g}": (value - low) / (high - low)}


def members_of(model):
    """The members of an ensemble, each after what it is called; none of a single model."""
    named = model.config.to_dict().get("members", [])
    return [(entry.get("repo") or entry["folder"], model.member(number)) for number, entry in enumerate(named)]


def vote(member, name, first, second):
    """A member's answer in a word."""
    if name not in member.tasks:
        return ""
    label, share = max(bars(member, name, first, second).items(), key=lambda item: item[1])
    return f"{label} ({share:.0%})"


def page(model):
    """The page, with a field of bars for each task."""
    members = members_of(model)

    def answer(first, second):
        first, second = first.strip(), second.strip()
        if not first:
            raise gradio.Error("Type a sentence first.")
        asked = [name for name, task in model.tasks.items() if second or not task["pair"]]
        fields = [
            gradio.Label(bars(model, name, first, second) if name in asked else None, visible=name in asked)
            for name in model.tasks
        ]
        table = [
            [called, *(vote(member, name, first, second) if name in asked else "" for name in model.tasks)]
            for called, member in members
        ]
        return [*fields, table] if members else fields

    with gradio.Blocks(title="hf_multitask") as built:
        gradio.Markdown("Type a sentence, or two, and ask. Tasks that read two sentences answer where there are two.")
        with gradio.Row():
            texts = [gradio.Textbox(label="First sentence"), gradio.Textbox(label="Second sentence")]
        ask = gradio.Button("Ask", variant="primary", elem_id="ask")
        with gradio.Row():
            shown: list[Any] = [gradio.Label(label=name, elem_id=f"task-{name}") for name in model.tasks]
        if members:
            headers = ["member", *model.tasks]
            shown.append(gradio.Dataframe(headers=headers, label="What each member says", elem_id="members"))
        gradio.Examples(EXAMPLES, inputs=texts)
        gradio.on([ask.click, *(text.submit for text in texts)], answer, inputs=texts, outputs=shown)
    return built


if __name__ == "__main__":
    where = os.environ.get("MODEL")
    if where is None:
        raise SystemExit("MODEL names the published model that the page asks: MODEL=me/model python app.py")
    page(AutoModel.from_pretrained(where, revision=os.environ.get("REVISION"), trust_remote_code=True)).launch()
