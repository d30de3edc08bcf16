"""Configuration of Projected Attention Layers."""

from dataclasses import dataclass
from typing import Any

from peft import PeftConfig
from peft.utils import PeftType
from transformers.activations import ACT2FN

__all__ = ["PalConfig"]


@dataclass
class PalConfig(PeftConfig):
    """Projected Attention Layers (Stickland & Murray, 2019): `TS(h) = V_D SA(V_E h)` beside each layer.

    `width`: what V_E projects to. `heads`: of SA. `attention`: without it TS(h) = V_D V_E h, the paper's low rank.
    `share_projections`: one V_E and one V_D for all layers of an encoder; what cuts a model up layer by layer (FSDP,
    DataParallel, a device_map over several devices) needs False. `activation`: applied to TS(h).
    `attention_dropout`: on SA's weights. `init_std`: of the normal draw of weights; None draws as `nn.Linear` does.
    `init_weights`: V_D starts at zero, so that an untrained adapter changes nothing; False draws it too.
    `layers_to_transform`: the numbers of the layers that are adapted, by default all; `target_modules`,
    `exclude_modules` and `layers_pattern` choose by name, as in PEFT's own methods.
    `modules_to_save`: modules trained and saved whole beside the adapter.

    >>> PalConfig.authors(width=96).heads
    6
    """

    width: int = 204
    heads: int = 12
    attention: bool = True
    share_projections: bool = True
    activation: str | None = None
    attention_dropout: float = 0.0
    init_std: float | None = None
    init_weights: bool = True
    target_modules: list[str] | set[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    modules_to_save: list[str] | None = None

    @classmethod
    def paper(cls, **options: Any) -> "PalConfig":
        """As the paper writes it: 204 wide, 12 heads, linear; the defaults."""
        return cls(**options)

    @classmethod
    def authors(cls, **options: Any) -> "PalConfig":
        """As the authors' code does it: 6 heads, GELU on TS(h), all weights drawn from N(0, .02), dropout of .1."""
        theirs = {"heads": 6, "activation": "gelu", "attention_dropout": 0.1, "init_std": 0.02, "init_weights": False}
        return cls(**{**theirs, **options})

    @classmethod
    def low_rank(cls, **options: Any) -> "PalConfig":
        """The paper's low-rank layers: 100 wide, without attention, projections of each layer's own."""
        return cls(**{"width": 100, "attention": False, "share_projections": False, **options})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType("PAL")
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        faults = []
        if self.width < 1:
            faults.append(f"width must be at least 1, got {self.width}")
        if self.attention and (self.heads < 1 or self.width % self.heads):
            faults.append(f"width {self.width} is no multiple of {self.heads} heads")
        if not 0 <= self.attention_dropout < 1:
            faults.append(f"attention_dropout must be in [0, 1), got {self.attention_dropout}")
        if self.activation is not None and self.activation not in ACT2FN:
            faults.append(f"unknown activation '{self.activation}', choose among {', '.join(sorted(ACT2FN))}")
        if self.init_std is not None and self.init_std <= 0:
            faults.append(f"init_std must be positive, got {self.init_std}")
        if faults:
            raise ValueError(f"PalConfig cannot hold this: {'; '.join(faults)}.")
