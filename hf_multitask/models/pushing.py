"""Pushing a model to the Hub, for every kind of model."""

from pathlib import Path
from typing import Any

from .libraries import library

__all__ = ["PUSHING", "Pushed"]

PUSHING = ("commit_message", "private", "push_to_hub", "repo_id", "revision", "token")
"""The options of `save_pretrained` that say whether and where to push."""

CODE = ("auto_map", "custom_pipelines")
"""What a published configuration says of the code beside it."""


class Pushed:
    """Gives a model `push_to_hub`, which publishes it whole: with its code, its tokenizer, its adapters and a card.

    It is for whoever makes models, so the package must be installed; loading what was pushed takes transformers alone.
    """

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the model; `options` are those of `hf_multitask.hub.push_model`. Gives the commit's address."""
        return library("hf_multitask.hub", "push_model")(self, repo_id, **options)

    def forget_code(self) -> None:
        """Let what is saved name no code beside it where none is put there: the class is an installed one."""
        model: Any = self
        if model._auto_class is None:
            for name in CODE:
                vars(model.config).pop(name, None)

    def push_if_asked(self, folder: str | Path, *, push_to_hub: bool = False, **options: Any) -> None:
        """What `save_pretrained(folder, push_to_hub=True, repo_id=..)` does at its end."""
        if push_to_hub:
            self.push_to_hub(options.pop("repo_id", Path(folder).name), **options)
