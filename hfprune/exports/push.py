"""Upload of an export to the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

from hfprune.errors import HfpruneError
from hfprune.exports.folder import files_of


def push(folder: Path, repo: str, *, private: bool = False, dry_run: bool = False) -> dict[str, int]:
    """Upload the files of a complete export as one commit to a model repository, which is made if need be.

    Args:
        folder: written by `export` or `export_gguf`.
        repo: `owner/name`.
        private: whether a new repository is private.
        dry_run: check everything that can be checked here, and send nothing.

    Returns:
        The size of each file in bytes.

    Raises:
        HfpruneError: the folder is no complete export, the name is no name of a repository, or the hub refuses.
    """
    files = files_of(folder)
    try:
        validate_repo_id(repo)
        if repo.count("/") != 1:
            raise HFValidationError("it has no owner")
    except HFValidationError as error:
        reason = " ".join(str(error).split())
        raise HfpruneError(f"{repo!r} is no repository ({reason}); give owner/name") from error
    if dry_run:
        return files
    try:
        api = HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo, folder_path=folder, allow_patterns=[*files], commit_message="Pruned by hfprune"
        )
    except LocalTokenNotFoundError as error:
        raise HfpruneError("no token for the hub; log in with `hf auth login`, or set HF_TOKEN") from error
    # The client's errors have no common base class, and it lets errors of its HTTP library through.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise HfpruneError(
            f"{repo}: the upload failed ({type(error).__name__}: {reason}); no file there was changed"
        ) from error
    return files
