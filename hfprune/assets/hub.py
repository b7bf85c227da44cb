"""Repositories on the Hugging Face hub, at a pinned commit, through the hub's own client and cache."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from hfprune.errors import HfpruneError
from hfprune.study import HubSource

RepoType = Literal["model", "dataset"]


def repo_files(source: HubSource, repo_type: RepoType, patterns: Sequence[str]) -> list[Path]:
    """Download files of a repository, or find them in the hub client's cache.

    Args:
        source: repository, commit and, where listed, files.
        repo_type: what the repository holds.
        patterns: files at the top of the repository to take where `source` lists none.

    Returns:
        The listed files in their order, else those that match, sorted by name.

    Raises:
        HfpruneError: the repository is gated, something is missing, or there is no network.
    """
    if not source.files and not patterns:
        raise HfpruneError(
            f"{source.repo}: no files are listed; add them under source.files in config/assets.yaml"
        )
    from huggingface_hub import hf_hub_download, snapshot_download

    if source.files:
        return [_get(hf_hub_download, source, repo_type, filename=file) for file in source.files]
    folder = _get(snapshot_download, source, repo_type, allow_patterns=list(patterns))
    return sorted(entry for entry in folder.iterdir() if entry.is_file())


def _get(download: Callable[..., Any], source: HubSource, repo_type: RepoType, **what: Any) -> Path:
    try:
        path = download(repo_id=source.repo, repo_type=repo_type, revision=source.revision, **what)
    # The client has no common base of its errors, and lets those of its HTTP library through.
    except Exception as error:
        raise HfpruneError(_explain(error, source, repo_type, what.get("filename"))) from error
    return Path(path)


def _explain(error: BaseException, source: HubSource, repo_type: RepoType, file: str | None) -> str:
    """Say in one line what went wrong and what to do."""
    from huggingface_hub import errors

    # "Not in the cache" is what the client makes of most failures; the reason is behind it.
    missing = isinstance(error, errors.LocalEntryNotFoundError)
    reason = error.__cause__ if missing and error.__cause__ is not None else error
    status = getattr(getattr(reason, "response", None), "status_code", None)
    repo, pins = source.repo, "in config/assets.yaml"
    # In this order: a gated repository counts as not found, too.
    if isinstance(reason, errors.GatedRepoError):
        page = f"https://huggingface.co/{'datasets/' if repo_type == 'dataset' else ''}{repo}"
        return f"{repo}: gated; accept its licence on {page}, then run `hf auth login` or set HF_TOKEN"
    if isinstance(reason, errors.RepositoryNotFoundError):
        return f"{repo}: no such {repo_type}, or a private one; correct it {pins} or run `hf auth login`"
    if isinstance(reason, errors.RevisionNotFoundError):
        return f"{repo}: has no revision {source.revision}; correct it {pins}"
    if isinstance(reason, errors.RemoteEntryNotFoundError):
        return f"{repo}: has no file {file!r} at revision {source.revision}; correct source.files {pins}"
    if status in (401, 403):
        return f"{repo}: access refused ({status}); run `hf auth login` or set HF_TOKEN, with a valid token"
    if status is not None:
        return f"{repo}: the hub answered with status {status}; try again later"
    if missing:
        return (
            f"{repo}: not in the hub client's cache, and the hub cannot be reached; "
            "run `hfprune fetch` where there is a network, or unset HF_HUB_OFFLINE if it is set"
        )
    return f"{repo}: download failed: {type(error).__name__}: {' '.join(str(error).split())}; try again"
