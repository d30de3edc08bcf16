"""Configuration of `MinBertModel`."""

from typing import Any

from transformers import BertConfig

__all__ = ["MinBertConfig"]

SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings")


class MinBertConfig(BertConfig):
    """BERT's own fields, and whether padding is left out of the computation.

    `unpad`: embeddings, projections and feed-forward see real tokens only. The results are the same.

    >>> MinBertConfig(num_hidden_layers=2).hidden_size
    768
    """

    model_type = "minbert"

    unpad: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        # Checkpoints older than 2021 write this field; any other value than the default needs other weights.
        position = kwargs.pop("position_embedding_type", "absolute")
        super().__post_init__(**kwargs)
        faults = [
            f"{name} = {got!r} (only {want!r} is minBERT)"
            for name, got, want in (
                ("position_embedding_type", position, "absolute"),
                ("is_decoder", self.is_decoder, False),
                ("add_cross_attention", self.add_cross_attention, False),
            )
            if got != want
        ]
        sizes = {name: getattr(self, name) for name in SIZES}
        if small := [f"{name} = {size} (1 is the least)" for name, size in sizes.items() if size < 1]:
            faults += small
        elif self.hidden_size % self.num_attention_heads:
            faults.append(f"hidden_size {self.hidden_size} is no multiple of {self.num_attention_heads} heads")
        if faults:
            raise ValueError(f"MinBertConfig cannot hold this model: {'; '.join(faults)}.")

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        found, kwargs = super().get_config_dict(*args, **kwargs)
        model_type = found.get("model_type", "bert")
        if model_type not in ("bert", "minbert"):
            raise ValueError(
                f"Expected a BERT checkpoint (model_type 'bert' or 'minbert'). Got a '{model_type}' model. "
                "Load it with AutoModel; a MultitaskModel takes it as its trunk as it is."
            )
        return {**found, "model_type": cls.model_type}, kwargs
