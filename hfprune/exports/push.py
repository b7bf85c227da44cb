"""Upload of an export to the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
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
            raise HFValidationError("give owner/name")
        if not dry_run:
            api = HfApi()
            api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repo, folder_path=folder, allow_patterns=[*files], commit_message="Pruned by hfprune"
            )
    except HFValidationError as error:
        raise HfpruneError(f"{repo!r} is no name of a repository: {' '.join(str(error).split())}") from error
    except LocalTokenNotFoundError as error:
        raise HfpruneError("no token for the hub; log in with `hf auth login`, or set HF_TOKEN") from error
    except HfHubHTTPError as error:
        raise HfpruneError(f"the hub refused {repo}: {' '.join(str(error).split())[:300]}") from error
    return files
