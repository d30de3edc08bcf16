"""Where the members of an ensemble lie, and whether they are what they were."""

import errno
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import CONFIG_NAME

__all__ = [
    "FULL",
    "HUB",
    "TOKENIZER",
    "check_inside",
    "check_weights",
    "digest",
    "fetch",
    "fingerprint",
    "share_memory",
    "spelled",
]

HUB = ("cache_dir", "force_download", "local_files_only", "token", "revision")
"""The options of a download."""

TOKENIZER = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.codes",
    "*.model",
)
"""What a tokenizer is saved as: a fast one as tokenizer.json, others as their words and rules."""

READ = ["*.json", "*.safetensors", "*.txt", "*.codes", "*.model"]
"""What is fetched of a repo: never a pickle."""

MATTERS = (
    CONFIG_NAME,
    *TOKENIZER,
    "*.safetensors",
    "adapters/*/adapter_config.json",
    "adapters/*/*.safetensors",
)
INSIDE = re.compile(r"^(members\.\d+\.)+")
"""What an ensemble puts before the names of its members' weights."""

CHUNK = 2**22
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a system says where there is no room for a file."""

PEEK = 64

PLACES = {"model_max_length", "name_or_path", "is_local", "local_files_only"}
PLACES |= {"tokenizer_file", "vocab_file", "merges_file", "spm_file"}
"""What a tokenizer tells of where it came from, which changes nothing in what it does."""


def fetch(path: str | Path, *, subfolder: str = "", **hub: Any) -> Path:
    """A model's folder: the one that is there, or that of the repo of that name; `hub` are options of the Hub's."""
    if Path(path).is_dir():
        return Path(path, subfolder)
    # Here, so that whoever reads folders alone asks nothing of the Hub.
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(path), allow_patterns=READ, **hub), subfolder)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OSError(f"The disk is full: no room to download {path}. Free some, or set HF_HOME.") from error


def fingerprint(folder: Path) -> str:
    """A hash of all that decides a model's answers. That of an ensemble holds the hashes of its members."""
    return digest({file.relative_to(folder).as_posix(): file for pattern in MATTERS for file in folder.glob(pattern)})


def digest(files: Mapping[str, Path | bytes]) -> str:
    """The `fingerprint` of a folder with these files, by their paths in it."""
    whole = hashlib.sha256()
    for name in sorted(name for name in files if any(fits(name, pattern) for pattern in MATTERS)):
        part, file = hashlib.sha256(), files[name]
        with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as stream:
            while block := stream.read(CHUNK):
                part.update(block)
        whole.update(f"{name} {part.hexdigest()}\n".encode())
    return whole.hexdigest()


def fits(name: str, pattern: str) -> bool:
    """Whether a path is one that a pattern finds, of as many parts."""
    return name.count("/") == pattern.count("/") and PurePosixPath(name).match(pattern)


def check_weights(folder: Path, name: str) -> None:
    """Raise unless a model's weights lie there as safetensors; a pickle could run any program when it is read."""
    adapters = sorted(place for place in folder.glob("adapters/*") if place.is_dir())
    for place in adapters:
        check_inside(place, folder)
    for part in [folder, *adapters]:
        # PEFT reads an adapter by its name, and a pickle beside any other.
        wanted = "adapter_model.safetensors" if (part / "adapter_config.json").is_file() else "*.safetensors"
        if any(part.glob(wanted)):
            continue
        if pickles := sorted(file.name for kind in ("*.bin", "*.pt", "*.pkl") for file in part.glob(kind)):
            raise ValueError(
                f"{name} ({part}) has its weights in {pickles[0]}, a pickle, which is not read: it could run any "
                "program. Save the model again, which writes model.safetensors."
            )
        raise ValueError(
            f"{name} ({part}) has no weights: no file ends in .safetensors. Pickles, which could run any program when "
            "they are read, are none."
        )


def check_inside(part: Path, folder: Path) -> None:
    """Raise where a link in a part of a model's folder leads out of the folder; the Hub's cache is made of links."""
    home = folder.resolve()
    homes = [home, *(place.parent / "blobs" for place in home.parents if place.name == "snapshots")]
    for file in [part, *part.rglob("*")]:
        if not any(file.resolve().is_relative_to(place) for place in homes):
            raise ValueError(f"{file} leads out of {folder}, to {file.resolve()}. Put the file itself there.")


def spelled(tokenizer: PreTrainedTokenizerBase) -> str:
    """All that decides what a tokenizer makes of texts; how it cut and padded the last ones is not part of it."""
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        rest = {name: value for name, value in state.items() if name not in ("truncation", "padding")}
    else:
        # Those written in Python keep nothing but their words and what they were made with.
        made = {name: value for name, value in tokenizer.init_kwargs.items() if name not in PLACES}
        rest = {"class": type(tokenizer).__name__, "words": tokenizer.get_vocab(), "made": made}
    way = [rest, tokenizer.model_input_names, tokenizer.truncation_side]
    return hashlib.sha256(json.dumps(way, sort_keys=True, default=str).encode()).hexdigest()


def share_memory(models: Iterable[nn.Module]) -> None:
    """Let equal weights of the same name lie in memory once, those of members of members too."""
    seen: dict[tuple[str, torch.dtype, Sequence[int]], list[Tensor]] = {}
    for model in models:
        weights: Mapping[str, Tensor] = dict([*model.named_parameters(), *model.named_buffers()])
        for name, weight in weights.items():
            others = seen.setdefault((INSIDE.sub("", name), weight.dtype, tuple(weight.shape)), [])
            for other in others:
                if same(weight, other):
                    weight.data = other.data
                    break
            else:
                others.append(weight)


def same(one: Tensor, other: Tensor) -> bool:
    # Most pairs differ at once, and need not be read to their ends.
    return torch.equal(one.flatten()[:PEEK], other.flatten()[:PEEK]) and torch.equal(one, other)
