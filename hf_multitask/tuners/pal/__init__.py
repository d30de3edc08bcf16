"""Projected Attention Layers as a PEFT method; importing this makes PEFT know them.

>>> from peft import get_peft_model
>>> from hf_multitask import MinBertConfig, MinBertModel
>>> from hf_multitask.tuners.pal import PalConfig
>>> small = MinBertConfig(hidden_size=24, intermediate_size=48, num_hidden_layers=2)
>>> model = get_peft_model(MinBertModel(small), PalConfig(width=12, heads=3), adapter_name="sst")
>>> model.get_nb_trainable_parameters()[0]
1548
"""

from peft.utils import PeftType, register_peft_method

from .config import PalConfig
from .layer import Pal, PalLayer
from .model import PalModel

__all__ = ["Pal", "PalConfig", "PalLayer", "PalModel"]


def add_peft_type(name: str) -> None:
    """Make `name` a member of PeftType: PEFT registers no method without one, and an enumeration cannot be extended."""
    member = str.__new__(PeftType, name)
    member._name_ = member._value_ = name
    setattr(PeftType, name, member)
    PeftType._member_names_.append(name)
    PeftType._member_map_[name] = PeftType._value2member_map_[name] = member


# The code of a published model is a copy of this, and knows when it comes second.
if "PAL" not in PeftType.__members__:
    add_peft_type("PAL")
    register_peft_method(name="pal", config_cls=PalConfig, model_cls=PalModel)
