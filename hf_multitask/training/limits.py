"""What a trunk cannot read."""

from ..models.modeling_multitask import MultitaskModel
from ..models.trunks import places

__all__ = ["too_much"]


def too_much(model: MultitaskModel) -> list[str]:
    """What texts may hold and the trunk cannot read: it would come up at the first text that does."""
    found, most = [], places(model.trunk)
    if most is not None and model.config.max_length > most:
        found.append(f"max_length is {model.config.max_length}, and the trunk has places for {most} tokens. Lower it.")
    words, known = len(model.tokenizer), getattr(model.get_input_embeddings(), "num_embeddings", None)
    if known is not None and words > known:
        found.append(
            f"The tokenizer has {words} words, and the trunk embeddings of {known}. "
            f"Call model.resize_token_embeddings({words}) first."
        )
    return found
