"""Publishing on the Hub: everything in one commit, or nothing."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any

import httpx2  # what huggingface_hub speaks to the Hub by
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError

from .models.members import FULL
from .publishing.manifest import Files, contents, ours, text_of

__all__ = ["publish", "push_model"]

RESULTS = ("report.json", "report.md", "recipe.yaml", "*.png")


def publish(
    folder: str | Path,
    repo: str,
    *,
    base: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str = "Publish the model",
) -> str:
    """Make `repo`, named user/name, hold what is in a folder, and give the address of its commit.

    The folder holds a model, an ensemble, or one adapter, whose `base` is the published model that it belongs to. What
    an earlier publishing put there and this one does not is taken away, but for pictures. Without a change there is no
    new commit.

    >>> publish("outputs/real", "me/model")  # doctest: +SKIP
    'https://huggingface.co/me/model/commit/5f2c..'
    """
    check_repo(repo)
    if (found := token or get_token()) is None:
        raise ValueError("The Hub needs a token to write. Log in by `hf auth login`, or set HF_TOKEN.")
    api = HfApi(token=found)
    with said(repo, api.endpoint):
        me = api.whoami()["name"]
    if "/" not in repo:
        repo = f"{me}/{repo}"
    files = contents(folder, repo, base=base, revision=revision)
    with said(repo, api.endpoint, me):
        if base is None and "adapter_config.json" in files:
            check_base(api, json.loads(text_of(files["adapter_config.json"]))["base_model_name_or_path"])
        api.create_repo(repo, private=private, exist_ok=True)
        if private and not api.repo_info(repo).private:
            raise ValueError(f"{repo} is there, and everybody sees it. Make it private on the Hub, or name another.")
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        there = api.list_repo_files(repo, revision=revision)
        check_same_kind(repo, there, files)
        stale = [path for path in there if ours(path) and path not in files]
        return send(api, repo, files, stale, revision=revision, commit_message=commit_message)


def push_model(model: Any, repo: str, *, report: str | Path | None = None, **options: Any) -> str:
    """Publish a model in memory; `report` is a folder whose report, recipe and pictures belong to it.

    The other options are those of `publish`.

    >>> push_model(model, "me/model", report="outputs/real")  # doctest: +SKIP
    'https://huggingface.co/me/model/commit/5f2c..'
    """
    check_repo(repo)
    with TemporaryDirectory() as aside:
        try:
            model.save_pretrained(aside)
            for path in (file for pattern in RESULTS for file in Path(report or aside).glob(pattern)):
                if report is not None:
                    copy(path, aside)
        except (OSError, SafetensorError) as error:
            if not full(error):
                raise
            raise OSError(f"The disk is full: no room for the model in {aside}. Free some, or set TMPDIR.") from error
        return publish(aside, repo, **options)


def send(api: HfApi, repo: str, files: Files, stale: list[str], **options: Any) -> str:
    """One commit of all files that are new or changed; none where there are none."""
    changes = [CommitOperationAdd(path, file) for path, file in files.items()]
    return api.create_commit(repo, [*changes, *map(CommitOperationDelete, stale)], **options).commit_url


def check_repo(repo: str) -> None:
    """Raise unless the Hub could have a repo of this name."""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ValueError(
            f"A repo is named user/name, of letters, digits, '-', '_' and '.', without '..' or '--'. Got {repo!r}."
        ) from error


def check_base(api: HfApi, base: str) -> None:
    """Raise unless there is such a model: what looks like a name may have been a folder."""
    if not api.repo_exists(base):
        raise ValueError(f"The adapter's base {base} is no model on the Hub. Name the published one: --base user/name.")


def check_same_kind(repo: str, there: Iterable[str], files: Files) -> None:
    """Raise where a model would take the place of an adapter, or the other way round."""
    kinds = [{"adapter_config.json": "an adapter", "config.json": "a model"}.get(name) for name in there]
    new = "an adapter" if "adapter_config.json" in files else "a model"
    if others := {kind for kind in kinds if kind} - {new}:
        raise ValueError(f"{repo} holds {others.pop()}, and this is {new}. Publish it in a repo of its own.")


@contextmanager
def said(repo: str, endpoint: str, me: str | None = None) -> Iterator[None]:
    """What goes wrong with the Hub, in one sentence, which never holds a token."""
    try:
        yield
    except (httpx2.TransportError, ConnectionError, HfHubHTTPError, RuntimeError) as error:
        # The uploading of a large file wraps what went wrong.
        cause = error.__cause__ if isinstance(error, RuntimeError) else error
        if isinstance(cause, HfHubHTTPError):
            raise OSError(f"{refusal(cause, repo, me)} The repo {repo} is as it was.") from error
        if not isinstance(cause, httpx2.TransportError | ConnectionError):
            raise
        raise OSError(
            f"{endpoint} cannot be reached ({type(cause).__name__}). The repo {repo} is as it was. Try again with a "
            "network, and without HF_HUB_OFFLINE."
        ) from error


def refusal(error: HfHubHTTPError, repo: str, me: str | None) -> str:
    status = error.response.status_code
    if status == 401 and me is None:
        return "The Hub does not know this token. Log in again by `hf auth login`, or set HF_TOKEN."
    if status in (401, 403):
        return f"The token is that of {me}, who may not write to {repo}. Give a repo of your own, or a token that may."
    return f"The Hub refuses ({status}): {error.server_message or error.response.reason_phrase}."


def full(error: Exception) -> bool:
    # safetensors gives the number in its words alone.
    return getattr(error, "errno", None) in FULL or any(f"os error {code})" in str(error) for code in FULL)
