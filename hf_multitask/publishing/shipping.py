"""The code that travels with a published model, so that transformers alone can load it."""

import re
from pathlib import Path
from typing import Any

__all__ = ["code", "settings"]

PACKAGE = Path(__file__).parents[1]
PALS = {"config": "pal_config", "layer": "pal_layer", "model": "pal_model", "__init__": "pal"}
"""What the files of `tuners/pal` are called beside those of `models`: transformers wants one flat folder."""

# In a `try`, where transformers does not look for what is missing: it would stop midway, and its cache would hold a
# part of the code for ever.
WITH_PEFT = """try:
    {}
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("The adapters of this model need PEFT: pip install peft") from error"""

MAPS = {
    "multitask": {
        "AutoConfig": "configuration_multitask.MultitaskConfig",
        "AutoModel": "modeling_multitask.MultitaskModel",
    },
    "ensemble": {"AutoConfig": "configuration_ensemble.EnsembleConfig", "AutoModel": "modeling_ensemble.EnsembleModel"},
}
PIPELINES = {"multitask": {"impl": "pipeline_multitask.MultitaskPipeline", "pt": ["AutoModel"]}}


def code(*, pals: bool) -> dict[str, str]:
    """The files by name; with `pals` those of Projected Attention Layers too, which want PEFT.

    >>> "modeling_multitask.py" in code(pals=False)
    True
    """
    files = {path.name: path.read_text(encoding="utf-8") for path in (PACKAGE / "models").glob("*.py")}
    del files["__init__.py"]
    if pals:
        for name, flat in PALS.items():
            files[f"{flat}.py"] = flattened((PACKAGE / "tuners" / "pal" / f"{name}.py").read_text(encoding="utf-8"))
        # Whoever loads adapters makes PEFT know PALs first.
        files["adapters.py"] += "\nfrom .pal import PalConfig\n"
    return dict(sorted(files.items()))


def flattened(text: str) -> str:
    """A file of `tuners/pal` as one that lies beside those of `models`, and says what it needs.

    >>> flattened("from ...models.packing import Packing")
    'from .packing import Packing'
    """
    text = re.sub(r"^from peft.*$", lambda found: WITH_PEFT.format(found[0]), text, flags=re.MULTILINE)
    text = re.sub(r"^from \.\.\.models\.", "from .", text, flags=re.MULTILINE)
    return re.sub(r"^from \.(config|layer|model) ", lambda found: f"from .{PALS[found[1]]} ", text, flags=re.MULTILINE)


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """A model's configuration, which also says where its code lies."""
    return {**config, "auto_map": MAPS[config["model_type"]], "custom_pipelines": PIPELINES}
