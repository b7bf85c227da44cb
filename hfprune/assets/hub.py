"""Repositories on the Hugging Face hub at a fixed commit, read through the hub's own client and cache."""

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from hfprune.assets.catalogue import HubSource, ModelAsset
from hfprune.errors import HfpruneError, brief
from hfprune.files import sha256
from hfprune.settings import Strict

RepoType = Literal["model", "dataset"]


def repo_files(source: HubSource, repo_type: RepoType, patterns: Sequence[str]) -> list[Path]:
    """Download files of a repository, or find them in the hub client's cache.

    A broken download is resumed. Every file is checked against the hash that the hub states, since the client
    checks sizes only.

    Returns:
        The files that `source` lists, in their order, or else the top-level files that match, sorted by name.

    Raises:
        HfpruneError: the repository is gated, a file is missing or damaged, or there is no network.
    """
    try:
        fetched = _ask(source, repo_type, patterns)
    # The client's errors have no common base class, and it lets errors of its HTTP library through.
    except Exception as error:
        raise HfpruneError(_explain(error, source, repo_type)) from error
    if source.files:
        files = [Path(file) for file in fetched]
    else:
        files = sorted(entry for entry in Path(fetched).iterdir() if entry.is_file())
    for file in tqdm(files, desc=f"check {source.repo}", unit="file"):
        _check_hash(file, source)
    return files


def identical_file(repo: str, file: str, digest: str) -> Path | None:
    """Return a file of a repository of models from the client's cache or the hub; None without this SHA-256."""
    from huggingface_hub import hf_hub_download

    size = identical_bytes(repo, file, digest)
    with suppress(Exception):  # as in `repo_files`
        if size is not None:
            path = Path(hf_hub_download(repo, file, local_files_only=size == 0))
            return path if sha256(path) == digest else None
    return None


def identical_bytes(repo: str, file: str, digest: str) -> int | None:
    """Return the bytes that `identical_file` would download, 0 if the cache has the file, None if it would fail.

    The hub has three seconds to answer: the caller has another source of the same bytes.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    with suppress(Exception):
        if isinstance(try_to_load_from_cache(repo, file), str):
            return 0
        offered = get_hf_file_metadata(hf_hub_url(repo, file), timeout=3)
        return offered.size if offered.etag == digest else None
    return None


def pending(source: HubSource, repo_type: RepoType, patterns: Sequence[str]) -> dict[str, int | None]:
    """Return the size in bytes of each file that `repo_files` would download; None if the hub is unreachable.

    Raises:
        HfpruneError: the hub says that the repository is gated or that a file is missing.
    """
    try:
        foretold = _ask(source, repo_type, patterns, dry_run=True)
    except Exception as error:
        if _status(_reason(error)) is not None:
            raise HfpruneError(_explain(error, source, repo_type)) from error
        return {source.repo: None}
    return {f"{source.repo}/{file.filename}": file.file_size for file in foretold if file.will_download}


def repo_type(asset: Strict) -> RepoType:
    """Return the hub's type of an asset's repository: all but models are data sets."""
    return "model" if isinstance(asset, ModelAsset) else "dataset"


def head_commit(source: HubSource, repo_type: RepoType) -> str:
    """Return the current commit of a branch.

    Raises:
        HfpruneError: see `repo_files`.
    """
    from huggingface_hub import HfApi

    try:
        return str(HfApi().repo_info(source.repo, repo_type=repo_type, revision=source.revision).sha)
    except Exception as error:
        raise HfpruneError(_explain(error, source, repo_type)) from error


def _ask(source: HubSource, repo_type: RepoType, patterns: Sequence[str], **options: Any) -> Any:
    if not source.files and not patterns:
        raise HfpruneError(
            f"{source.repo}: no files are listed; add them under source.files in config/assets.yaml"
        )
    from huggingface_hub import hf_hub_download, snapshot_download

    # Each of the client's retries logs a warning or two; our own error reports the final cause in one line.
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)
    options |= {"repo_type": repo_type, "revision": source.revision}
    if source.files:
        return [hf_hub_download(source.repo, filename=file, **options) for file in source.files]
    return snapshot_download(source.repo, allow_patterns=list(patterns), **options)


def _check_hash(file: Path, source: HubSource) -> None:
    """Fail, and delete the file, if it does not have the hash that the hub states.

    In the client's cache a file is a link to a blob whose name is that hash: the SHA-256 of a large file, the
    git hash of a small one. Where links are not supported, the hash is unknown and nothing is checked.
    """
    from huggingface_hub.utils.sha import git_hash

    stated = file.readlink().name if file.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", stated):
        digest = sha256(file)
    elif re.fullmatch("[0-9a-f]{40}", stated):
        digest = git_hash(file.read_bytes())
    else:
        return
    if digest != stated:
        for path in (file.resolve(), file.parent / file.readlink(), file):
            path.unlink(missing_ok=True)
        raise HfpruneError(
            f"{source.repo}: {file.name} has the hash {digest} but the hub states {stated}; "
            "the download was damaged and is deleted: fetch again"
        )


def _reason(error: BaseException) -> BaseException:
    """Return the cause of an error: the client reports most failures as "not in the cache"."""
    from huggingface_hub import errors

    hidden = isinstance(error, errors.LocalEntryNotFoundError | errors.DryRunError)
    return error.__cause__ if hidden and error.__cause__ is not None else error


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _explain(error: BaseException, source: HubSource, repo_type: RepoType) -> str:
    if isinstance(error, HfpruneError):
        return str(error)
    from huggingface_hub import errors

    reason = _reason(error)
    status, repo = _status(reason), source.repo
    # The order matters: a gated repository also counts as not found.
    if isinstance(reason, errors.GatedRepoError):
        page = f"https://huggingface.co/{'datasets/' if repo_type == 'dataset' else ''}{repo}"
        return (
            f"{repo}: gated; accept its licence on {page}, then run `hf auth login` or set HF_TOKEN to a token "
            "of that account"
        )
    if isinstance(reason, errors.RepositoryNotFoundError):
        return f"{repo}: no such {repo_type}, or a private one; correct the name or run `hf auth login`"
    if isinstance(reason, errors.RevisionNotFoundError):
        return f"{repo}: has no revision {source.revision}; correct it"
    if isinstance(reason, errors.RemoteEntryNotFoundError):
        file = str(reason.response.url).partition("/resolve/")[2].partition("/")[2]
        return f"{repo}: has no file {file!r} at revision {source.revision}; correct its name"
    if status in (401, 403):
        return f"{repo}: access refused ({status}); run `hf auth login` or set HF_TOKEN, with a valid token"
    if status is not None:
        return f"{repo}: the hub answered with status {status}; try again later"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return (
            f"{repo}: not in the hub client's cache, and the hub cannot be reached; "
            "run `hfprune fetch` where there is a network, or unset HF_HUB_OFFLINE if it is set"
        )
    # The client's HTTP library differs by its version.
    if any(kind.__name__ == "TransportError" for kind in type(error).__mro__):
        return (
            f"{repo}: the hub cannot be reached ({brief(error)}); connect to a network, or copy it here and name "
            "its folder or file"
        )
    return f"{repo}: download failed: {type(error).__name__}: {brief(error)}; try again"
