"""Taking up a checkpoint whose model has an adapter for each task, or that other arguments left."""

from torch import nn
from transformers import EarlyStoppingCallback, Trainer

from ..arguments import MultitaskTrainingArguments
from ..models.modeling_multitask import MultitaskModel

__all__ = ["Restoring"]


class Restoring(Trainer):
    """A Trainer, to be mixed into another, that restores every adapter of a `MultitaskModel` and keeps its patience."""

    model: MultitaskModel
    args: MultitaskTrainingArguments

    @property
    def sharded(self) -> bool:
        """Whether a process may hold only a part of the model."""
        return self.is_deepspeed_enabled or self.is_fsdp_enabled

    def _load_callback_state(self) -> None:
        super()._load_callback_state()
        # How often it has waited is the checkpoint's to say, and how often it may the arguments'.
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, EarlyStoppingCallback) and self.args.early_stopping is not None:
                callback.early_stopping_patience = self.args.early_stopping

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.model.config.adapters and not self.sharded:
            # Trainer knows the files of one adapter, not those of a model with several.
            self.model.restore(resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if self.model.config.adapters and not self.sharded:
            self.model.restore(str(self.state.best_model_checkpoint))
        else:
            super()._load_best_model()
