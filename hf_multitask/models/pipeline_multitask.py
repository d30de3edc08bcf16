"""`pipeline("multitask")`: raw texts in, what each task says of them out."""

from collections.abc import Iterable, Sequence
from typing import Any

from transformers import Pipeline

__all__ = ["MultitaskPipeline"]


class MultitaskPipeline(Pipeline):
    """Answers texts and pairs of texts by a MultitaskModel or an EnsembleModel.

    A text is a string, a pair is `{"text": .., "text_pair": ..}`; a list of either gives a list of answers. Each answer
    maps every task that reads such an input, or those of `tasks`, to `{"label": .., "score": ..}`, the probability of
    the likeliest label, or to `{"value": ..}`.

    >>> from transformers import pipeline
    >>> answer = pipeline("multitask", model="me/model", trust_remote_code=True)  # doctest: +SKIP
    >>> answer({"text": "A woman sings.", "text_pair": "A lady is singing."}, tasks=["sts"])  # doctest: +SKIP
    {'sts': {'value': 4.6}}
    """

    # The model has its own tokenizer.
    _load_tokenizer: Any = False
    _load_processor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False
    _load_feature_extractor: Any = False
    model: Any

    def __call__(self, inputs: Any, *, tasks: Sequence[str] | None = None, batch_size: int | None = None) -> Any:  # type: ignore
        if isinstance(tasks, str):
            raise ValueError(f"tasks is a list of names, such as [{tasks!r}].")
        single = isinstance(inputs, str | dict)
        rows = [self.preprocess(one) for one in ([inputs] if single else inputs)]
        answers = self._forward(rows, tasks=tasks, batch_size=batch_size or self._batch_size or 64)
        return answers[0] if single else answers

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        if options:
            advice = "Give tasks to the call." if "tasks" in options else "There are tasks and batch_size."
            raise TypeError(f"This pipeline has no option {', '.join(options)}. {advice}")
        return {}, {}, {}

    def preprocess(self, one: Any) -> tuple[str, str | None]:  # type: ignore[override]
        """A text, and the other one of a pair."""
        if isinstance(one, str):
            return one, None
        texts = isinstance(one, dict) and isinstance(one.get("text"), str) and isinstance(one.get("text_pair", ""), str)
        if texts and one.keys() <= {"text", "text_pair"}:
            return one["text"], one.get("text_pair")
        raise ValueError(f"An input is a text, or a pair {{'text': .., 'text_pair': ..}}. Got {one!r}.")

    def _forward(  # type: ignore[override]
        self, rows: Sequence[tuple[str, str | None]], *, tasks: Sequence[str] | None, batch_size: int
    ) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = [{} for _ in rows]
        for name in self.model.tasks if tasks is None else tasks:
            pair = self.model.config.known(name)["pair"]
            chosen = [number for number, (_, second) in enumerate(rows) if (second is not None) == pair]
            if tasks is not None and len(chosen) < len(rows):
                raise ValueError(f"Task '{name}' reads {'pairs' if pair else 'single texts'}, and not all inputs are.")
            if not chosen:
                continue
            first, second = zip(*(rows[number] for number in chosen), strict=True)
            found = self.model.predict(name, first, second if pair else None, batch_size=batch_size)
            for number, answer in zip(chosen, self.postprocess(found), strict=True):
                answers[number][name] = answer
        return answers

    def postprocess(self, found: Any) -> Iterable[dict[str, Any]]:  # type: ignore[override]
        """What was predicted, row by row."""
        if found.names is None:
            return [{"value": value} for value in found.values.tolist()]
        best = found.probabilities.max(-1).values.tolist()
        return [{"label": label, "score": score} for label, score in zip(found.labels, best, strict=True)]
