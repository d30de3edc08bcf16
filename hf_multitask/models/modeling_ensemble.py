"""Several models that answer as one: `EnsembleModel`."""

import json
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import CONFIG_NAME

from .configuration_ensemble import EnsembleConfig
from .construct import unknown
from .encoding import Texts, check_texts
from .members import HUB, check_weights, fetch, fingerprint, share_memory, spelled
from .modeling_multitask import MultitaskModel
from .objectives import Prediction, build_objective, translated
from .pushing import PUSHING, Pushed

__all__ = ["EnsembleModel"]

LOADING = ("dtype", "attn_implementation")
IGNORED = ("adapter_kwargs", "trust_remote_code", "_commit_hash", "_from_auto", "_from_pipeline")
"""What AutoModel says to every model, and means nothing to this one."""


class Source(NamedTuple):
    """Where a member came from: a folder, a repo on the Hub as well, or, with neither, memory alone."""

    folder: Path | None = None
    repo: dict[str, str] | None = None


class EnsembleModel(Pushed, PreTrainedModel):  # type: ignore[misc]
    """Members that know some of the same tasks, and for each task a combiner of their answers.

    It predicts like a `MultitaskModel`. Its members are such models or ensembles themselves; their texts are tokenized
    once where they have the same tokenizer, equal weights of theirs share memory, and they run one after another.

    >>> ensemble = EnsembleModel.from_members(["outputs/a", "outputs/b"])  # doctest: +SKIP
    >>> ensemble.predict("sst", ["A fine film."]).labels  # doctest: +SKIP
    ['positive']
    """

    config_class = EnsembleConfig
    config: EnsembleConfig
    base_model_prefix = "members"
    _supports_sdpa = True
    anchor: Tensor

    def __init__(
        self,
        config: EnsembleConfig,
        sources: Sequence[Source] = (),
        members: Sequence[PreTrainedModel] = (),
        **loading: Any,
    ):
        super().__init__(config)
        self.post_init()
        if not sources:
            raise ValueError("An ensemble is made by EnsembleModel.from_members or read by from_pretrained.")
        self.sources, self.loading = list(sources), loading
        # After post_init, which would look for weights to draw. Without members, they are read when they are asked.
        self.members = nn.ModuleList(members)
        self.register_buffer("anchor", torch.empty(0), persistent=False)
        self.tokenizers: dict[str, PreTrainedTokenizerBase] = {}
        self.adopt(self.tokenizers)

    @classmethod
    def from_members(
        cls,
        members: Sequence[str | Path | PreTrainedModel],
        *,
        combiner: Mapping[str, Any] | None = None,
        combiners: Mapping[str, Mapping[str, Any]] | None = None,
        one_at_a_time: bool = False,
        **loading: Any,
    ) -> "EnsembleModel":
        """An ensemble of folders, of repos on the Hub (`name` or `name@revision`), or of models in memory.

        `combiner` is that of every task which `combiners` does not name. A repo stays where it is: its commit of
        today is what a saved ensemble refers to. `one_at_a_time` keeps no member in memory for longer than it answers.
        """
        sources = [place(member) for member in members]
        configs = [
            member.config if isinstance(member, PreTrainedModel) else read_config(source, number)
            for number, (member, source) in enumerate(zip(members, sources, strict=True))
        ]
        names = [list(config.tasks) for config in configs]
        tasks = merged([config.tasks for config in configs])
        chosen = {name: dict((combiners or {}).get(name) or combiner or {"class": "Mean"}) for name in tasks}
        chosen |= {name: dict(spec) for name, spec in (combiners or {}).items() if name not in tasks}
        entries = [{**(source.repo or {}), "tasks": own} for source, own in zip(sources, names, strict=True)]
        config = EnsembleConfig(members=entries, tasks=tasks, combiners=chosen)
        if one_at_a_time and any(source.folder is None for source in sources):
            raise ValueError("one_at_a_time reads members from folders or the Hub. Save those in memory first.")
        return cls.gather(config, sources, members, one_at_a_time=one_at_a_time, **loading)

    @classmethod
    def gather(
        cls,
        config: EnsembleConfig,
        sources: Sequence[Source],
        members: Sequence[Any],
        *,
        one_at_a_time: bool,
        **loading: Any,
    ) -> "EnsembleModel":
        """Read the members that are not in memory, unless they are to be read one at a time."""
        if one_at_a_time:
            return cls(config, sources, one_at_a_time=True, **loading)
        read = [
            member if isinstance(member, PreTrainedModel) else load_member(source, number, **loading)
            for number, (member, source) in enumerate(zip(members, sources, strict=True))
        ]
        ensemble = cls(config, sources, read, **loading)
        ensemble.share()
        return ensemble

    def share(self) -> None:
        """Let equal weights lie in memory once; models that somebody holds already are left as they are."""
        pairs = zip(self.members, self.sources, strict=True) if len(self.members) else ()
        share_memory([model for model, source in pairs if source.folder is not None])

    def _apply(self, *args: Any, **options: Any) -> Any:
        # What moves or changes its type is copied, weight by weight.
        moved = super()._apply(*args, **options)
        self.share()
        return moved

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, path: Any, *args: Any, config: Any = None, one_at_a_time: bool = False, **options: Any
    ) -> "EnsembleModel":
        """An ensemble that was saved, its members checked to be those that it was saved with."""
        loading = {name: options.pop(name) for name in LOADING if name in options}
        hub = {name: value for name, value in options.items() if name not in IGNORED}
        if strange := [name for name in hub if name not in (*HUB, "subfolder")]:
            raise TypeError(unknown("option of EnsembleModel.from_pretrained", strange[0], ["one_at_a_time", *LOADING]))
        folder = fetch(path, **hub)
        config = config if isinstance(config, EnsembleConfig) else EnsembleConfig.from_pretrained(folder)
        sources = [found(entry, folder, number, hub) for number, entry in enumerate(config.members)]
        ensemble = cls.gather(config, sources, sources, one_at_a_time=one_at_a_time, **loading)
        return ensemble.eval()

    def save_pretrained(  # type: ignore[override]
        self, save_directory: Any, is_main_process: bool = True, **options: Any
    ) -> None:
        """Save the ensemble with its members inside; those of the Hub stay there, by name and commit."""
        if not is_main_process:
            return
        pushing = {key: options.pop(key) for key in PUSHING if key in options}
        folder = Path(save_directory)
        self.forget_code()
        self.save_members(folder, **options)
        entries = []
        for number, (source, entry) in enumerate(zip(self.sources, self.config.members, strict=True)):
            inside = f"members/{number}"
            where, lies = (source.repo, source.folder) if source.repo else ({"folder": inside}, folder / inside)
            entries.append({**where, "hash": fingerprint(Path(str(lies))), "tasks": entry["tasks"]})
        if self._auto_class is not None:
            saved: Any = self.config
            custom_object_save(self, folder, config=saved)
        kept = deepcopy(self.config)
        kept.members, kept.architectures = entries, [type(self).__name__]
        kept.save_pretrained(folder)
        self.push_if_asked(folder, **pushing)

    def save_members(self, folder: Path, **options: Any) -> None:
        """Put into a folder all members but those of the Hub, as they are in memory where they are there.

        They may be read from this very folder meanwhile: each is written aside, and put in its place at the end.
        """
        moves = []
        for number, source in enumerate(self.sources):
            lies = folder / "members" / str(number)
            aside = lies.with_name(f".{number}")
            kept = not len(self.members) and source.folder is not None and source.folder.resolve() == lies.resolve()
            if source.repo is None and not kept:
                rmtree(aside, ignore_errors=True)
                self.member(number).save_pretrained(aside, **options)
                moves.append((number, aside, lies))
        for number, aside, lies in moves:
            rmtree(lies, ignore_errors=True)
            aside.rename(lies)
            before = self.sources[number].folder
            if before is not None and before.resolve().is_relative_to(folder.resolve()):
                # Where it was read from, another may lie now.
                self.sources[number] = Source(lies)

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """What each task reads and answers, as `Task.describe()` gives it."""
        return self.config.tasks

    @property
    def device(self) -> torch.device:
        return self.anchor.device

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """That of the first member."""
        return self.member(0).tokenizer

    def dismiss_idle(self) -> None:
        """Leave out the members that no task asks."""
        combiners = {name: self.config.combiner(name) for name in self.tasks}
        asked = [combiners[name].weigh(self.config.knowing(name)) for name in self.tasks]
        kept = torch.stack(asked).any(0).nonzero().flatten().tolist()
        self.config.members = [self.config.members[number] for number in kept]
        self.config.combiners = {name: combiner.among(kept).describe() for name, combiner in combiners.items()}
        self.sources = [self.sources[number] for number in kept]
        if len(self.members):
            self.members = nn.ModuleList(self.members[number] for number in kept)

    def member(self, number: int) -> Any:
        """A member, read from its folder where none is kept in memory."""
        if len(self.members):
            return self.members[number]
        model: Any = load_member(self.sources[number], number, **self.loading)
        model.to(self.device)
        take_tokenizer(model, self.tokenizers)
        return model

    def adopt(self, tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
        """Let members use one of these tokenizers where it is equal to their own, so that they share what it makes."""
        self.tokenizers = tokenizers
        for model in self.members:
            take_tokenizer(model, tokenizers)

    def predict(
        self, task: str, first: Sequence[str], second: Sequence[str] | None = None, *, batch_size: int = 64
    ) -> Prediction:
        """Answers to raw texts, in their order."""
        check_texts(task, first, second, pair=self.config.known(task)["pair"])
        scores = self.answer(task, Texts(first, second), batch_size=batch_size)
        return self.config.objective(task).decode(scores)

    @torch.no_grad()
    def answer(self, task: str, texts: Texts, *, batch_size: int = 64) -> Tensor:
        """The scores of a task [n, outputs] for texts that others may have read before."""
        said = []
        for number in self.asked(task):
            member = self.member(number)
            said.append(self.heard(task, member, member.answer(task, texts, batch_size=batch_size)))
            # Where members are read one at a time, the next one takes its place.
            del member
        return self.joined(task, torch.stack(said))

    def asked(self, task: str) -> list[int]:
        """The numbers of the members whose answers count in a task."""
        return self.config.combiner(task).weigh(self.config.knowing(task)).nonzero().flatten().tolist()

    def heard(self, task: str, member: Any, scores: Tensor) -> Tensor:
        """What a member, or whoever has its `tasks`, says of one [n, outputs], in terms of the ensemble's objective."""
        own = build_objective(member.tasks[task]["objective"])
        # In double precision, in which the mean of equal scores is what they are.
        return translated(scores.double(), own, self.config.objective(task))

    def joined(self, task: str, scores: Tensor) -> Tensor:
        """What the combiner of a task makes of what those that are asked say [asked, n, outputs]."""
        combiner = self.config.combiner(task)
        weights = combiner.weigh(self.config.knowing(task))
        joined = combiner.join(scores, weights[weights > 0], self.config.objective(task))
        return (joined / self.config.temperatures.get(task, 1.0)).float()


def take_tokenizer(model: Any, tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    if isinstance(model, EnsembleModel):
        model.adopt(tokenizers)
    else:
        model.tokenizer = tokenizers.setdefault(spelled(model.tokenizer), model.tokenizer)


KINDS: dict[str, Any] = {"ensemble": EnsembleModel, "multitask": MultitaskModel}
"""What a member may be, by the type in its configuration."""


def place(member: str | Path | PreTrainedModel) -> Source:
    """Where a member lies, by what was said of it."""
    if isinstance(member, PreTrainedModel):
        return Source()
    if Path(member).is_dir():
        return Source(Path(member))
    repo, _, revision = str(member).partition("@")
    try:
        folder = fetch(repo, revision=revision or None)
    except (OSError, ValueError) as error:
        raise ValueError(f"The member {member} is no folder here, and the Hub does not give it: {error}") from error
    # The Hub's cache names the folder of a snapshot after its commit.
    return Source(folder, {"repo": repo, "revision": folder.name})


def found(entry: Mapping[str, Any], folder: Path, number: int, hub: Mapping[str, Any]) -> Source:
    """Where a saved ensemble's member lies, if it is the one that was saved."""
    if "repo" in entry:
        repo = {name: entry[name] for name in ("repo", "revision")}
        try:
            lies = fetch(repo["repo"], **{**hub, "revision": repo["revision"], "subfolder": ""})
        except (OSError, ValueError) as error:
            raise ValueError(f"Member {number} ({repo['repo']}@{repo['revision']}) is not given: {error}") from error
        source, name = Source(lies, repo), f"Member {number} ({repo['repo']})"
    else:
        source, name = Source(folder / entry["folder"]), f"Member {number} ({entry['folder']})"
        if not Path(os.path.abspath(folder / entry["folder"])).is_relative_to(os.path.abspath(folder)):
            raise ValueError(f"{name} of the ensemble {folder} leads out of its folder. Do not trust the ensemble.")
    if not source.folder or not source.folder.is_dir():
        raise ValueError(f"{name} of the ensemble {folder} is missing: there is no such folder.")
    if read_config(source, number).model_type != "ensemble":
        check_weights(source.folder, name)
    if fingerprint(source.folder) != entry["hash"]:
        raise ValueError(
            f"{name} of the ensemble {folder} has changed since the ensemble was saved: its weights, settings or "
            "tokenizer are others. Put back the files, or make a new ensemble by EnsembleModel.from_members."
        )
    return source


def read_config(source: Source, number: int) -> PreTrainedConfig:
    """A member's configuration."""
    file = Path(str(source.folder), CONFIG_NAME)
    if not file.is_file():
        raise ValueError(f"Member {number} ({source.folder}) has no config.json: it is no model.")
    kind = json.loads(file.read_text(encoding="utf-8")).get("model_type")
    if kind not in KINDS:
        raise ValueError(
            f"Member {number} ({source.folder}) is a '{kind}'. A member is a multitask model or an ensemble: train one "
            "on it first."
        )
    return KINDS[kind].config_class.from_pretrained(source.folder)


def load_member(source: Source, number: int, **loading: Any) -> PreTrainedModel:
    """A member's model, from safetensors alone."""
    kind = read_config(source, number).model_type
    if kind == "multitask":
        check_weights(Path(str(source.folder)), f"Member {number}")
        loading = {name: value for name, value in loading.items() if name in LOADING} | {"use_safetensors": True}
    return KINDS[kind].from_pretrained(str(source.folder), **loading).requires_grad_(False).eval()


def merged(described: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The tasks that members know, each as the first describes it, without its head; or why they do not go together."""
    tasks: dict[str, dict[str, Any]] = {}
    faults = []
    for number, known in enumerate(described):
        for name, task in known.items():
            first = tasks.setdefault(name, {key: value for key, value in task.items() if key != "head"})
            spaces = [build_objective(each["objective"]).space for each in (first, task)]
            if first["pair"] != task["pair"] or spaces[0] != spaces[1]:
                faults.append(f"Member {number} means another task by '{name}': {spaces[1]}, not {spaces[0]}.")
    if not tasks:
        faults.append("An ensemble needs one member or more, with one task or more.")
    if faults:
        raise ValueError(" ".join(faults))
    return tasks
