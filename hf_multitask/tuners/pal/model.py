"""The tuner: finds the layers, puts the adapters in, and says what they look like in a file."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, cast

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, check_target_module_exists, delete_adapter
from peft.utils.error import NoMatchingPeftModuleError
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from .config import PalConfig
from .layer import BASE, MERGING, Pal, PalLayer, carry

__all__ = ["PalModel"]

LAYER_OUTPUT = re.compile(r"(?:.*\.)?layer\.\d+\.output")
# By name, so that copies of these classes are recognised too: a layer that the Hub's code or FSDP has derived.
EXPLICIT = {"MinBertLayer"}
HOOKED = {"BertLayer", "RobertaLayer", "ElectraLayer", "XLMRobertaLayer", "CamembertLayer"}
KINDS = "encoder layers of minBERT, BERT, RoBERTa, XLM-RoBERTa, CamemBERT and ELECTRA"
OWN = {"base_model", "model", "base_layer", "pal_adapters", "down", "qkv", "up", "weight", "bias"}


class PalModel(BaseTuner):
    """Puts Projected Attention Layers beside the layers of minBERT, BERT, RoBERTa or ELECTRA.

    Sequences of several tasks may share a pass, in training too: `model(**batch, adapter_names=[...])` gives each
    row, or each sequence of a packed `MinBertModel` batch, its own adapter, and an adapter without rows no gradient.
    """

    prefix = "pal_"
    tuner_layer_cls = PalLayer
    target_module_mapping: dict[str, list[str]] = {}

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        config = self._prepare_adapter_config(self.peft_config[adapter_name], {})
        keys = [key for key, _ in model.named_modules() if self._check_target_module_exists(config, key)]
        check_layers(model, keys, config)
        check_name(adapter_name, keys)
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        for layer in self.pal_layers():
            layer.configs = self.peft_config

    def pal_layers(self) -> Iterator[PalLayer]:
        return (module for module in self.model.modules() if isinstance(module, PalLayer))

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict) -> Any:
        if peft_config.target_modules is None:
            peft_config.target_modules = {"output"}
        return peft_config

    @staticmethod
    def _check_target_module_exists(peft_config: PeftConfig, key: str) -> Any:
        # The name `output` alone would take the attention's own along, and whatever a head calls so.
        return LAYER_OUTPUT.fullmatch(key) and check_target_module_exists(peft_config, key)

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        shared = self.first(adapter_name, encoder_of(current_key)) if peft_config.share_projections else None
        if isinstance(target, PalLayer):
            target.update_layer(adapter_name, peft_config, shared)
            return
        attention: Any = parent.attention
        handle = None
        if not EXPLICIT & lineage(parent):
            handle = attention.register_forward_hook(carry, with_kwargs=True)
        layer = PalLayer(target, attention.self.config, handle)
        layer.update_layer(adapter_name, peft_config, shared)
        self._replace_module(parent, target_name, layer, target)

    def first(self, adapter_name: str, encoder: str) -> Pal | None:
        """The adapter's Pal beside the first layer of an encoder that has one."""
        for path, module in self.model.named_modules():
            if isinstance(module, PalLayer) and adapter_name in module.pal_adapters and encoder_of(path) == encoder:
                return cast(Pal, module.pal_adapters[adapter_name])
        return None

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        if isinstance(child, PalLayer) and child.handle is not None:
            child.handle.remove()
        setattr(parent, child_name, new_module)

    def delete_adapter(self, adapter_name: str) -> None:
        if adapter_name not in self.peft_config:
            raise ValueError(f"Adapter {adapter_name} does not exist. Adapters: {', '.join(self.peft_config)}.")
        del self.peft_config[adapter_name]
        # PEFT would skip every module whose path contains the prefix, such as one of a `principal_encoder`.
        left = delete_adapter(self.model, adapter_name, prefix=PalLayer.adapter_layer_names[0], layer_cls=PalLayer)
        self.active_adapter = left or []

    def _check_merge_allowed(self) -> None:
        raise ValueError(MERGING)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        names = kwargs.get("adapter_names")
        if names is None:
            yield
            return
        wrappers = [module for module in self.model.modules() if isinstance(module, AuxiliaryTrainingWrapper)]
        if wrappers and self.training:
            raise ValueError(
                "adapter_names and modules_to_save do not train together: what is saved whole belongs to one adapter. "
                "Give each task its own head beside the adapters, or call model.eval()."
            )
        thread = get_ident()

        def hand_over(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
            # PEFT takes the names out of the arguments. Another thread may run the model under names of its own.
            return (args, {**kwargs, "adapter_names": names}) if get_ident() == thread else None

        handles = [m.register_forward_pre_hook(hand_over, with_kwargs=True) for m in (self.model, *wrappers)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        return key.replace(f".pal_adapters.{adapter_name}.", ".pal_adapters.")


def encoder_of(path: str) -> str:
    """From `trunk.encoder.layer.3.output` to `trunk.encoder.layer`: each encoder of a model shares for itself."""
    return path.rsplit(".", 2)[0]


def lineage(module: nn.Module) -> set[str]:
    """The names of a module's class and those it derives from."""
    return {kind.__name__ for kind in type(module).__mro__}


def check_layers(model: nn.Module, keys: list[str], config: PalConfig) -> None:
    """Raise unless every layer that an adapter goes to is of a kind whose mathematics is known."""
    if not keys:
        raise NoMatchingPeftModuleError(
            f"A PAL runs beside {KINDS}. Found none in this {type(model).__name__} "
            f"for target_modules={config.target_modules} and layers_to_transform={config.layers_to_transform}."
        )
    layers: list[Any] = [model.get_submodule(key.rpartition(".")[0]) for key in keys]
    if strange := sorted({type(layer).__name__ for layer in layers if not lineage(layer) & (EXPLICIT | HOOKED)}):
        raise ValueError(f"A PAL runs beside {KINDS}. Got {', '.join(strange)} in this {type(model).__name__}.")
    settings = layers[0].attention.self.config
    if settings.is_decoder:
        raise ValueError("A PAL attends in both directions. Got a decoder; load it with is_decoder=False.")
    if settings.chunk_size_feed_forward:
        raise ValueError("A PAL needs the whole sequence. Got chunk_size_feed_forward > 0; load the model with 0.")


def check_name(name: str, keys: list[str]) -> None:
    """Raise where PEFT could not hold an adapter of this name, or would mistake other weights for its own."""
    path = {part for key in keys for part in key.split(".")}
    if not name or "." in name or name in {BASE, *dir(nn.ModuleDict()), *OWN, *path}:
        raise ValueError(
            f"PEFT cannot hold an adapter named '{name}': a name has no dot, is no attribute of a ModuleDict, "
            f"not '{BASE}', and no part of the weights' own names ({', '.join(sorted(path))})."
        )
