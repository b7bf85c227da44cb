"""Upload an export to the Hugging Face hub."""

from glob import escape
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from hfprune.errors import REASON, HfpruneError, brief, explained
from hfprune.exports.export_folder import files_of
from hfprune.stages import Command, Positional


class Push(Command):
    """An export, on the hub."""

    example: ClassVar = "hfprune push pruned --repo me/smollm2-135m-instruct-q4-pruned --dry-run"

    folder: Annotated[Path, Positional("DIR")] = Field(description="folder that `hfprune export` wrote")
    repo: str = Field(description="repository, owner/name; made if it does not exist")
    private: bool = Field(default=False, description="make a new repository private")
    dry_run: bool = Field(default=False, description="check the folder, and only print what would be sent")

    def run(self) -> None:
        """Check the export, upload it as one commit to a repository that is made if need be, and print its files.

        Raises:
            HfpruneError: the folder is no complete export, the name is no name of a repository, or the hub
                refuses.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError
        from huggingface_hub.utils import validate_repo_id

        files, repo = files_of(self.folder), self.repo
        with explained(f"{repo!r} is no repository ({REASON}); give owner/name", HFValidationError):
            validate_repo_id(repo)
            if repo.count("/") != 1:
                raise HFValidationError("it has no owner")
        try:
            if not self.dry_run:
                api = HfApi()
                api.create_repo(repo, private=self.private, exist_ok=True)
                api.upload_folder(
                    repo_id=repo,
                    folder_path=self.folder,
                    allow_patterns=[*map(escape, files)],
                    commit_message="Pruned by hfprune",
                )
        except LocalTokenNotFoundError as error:
            raise HfpruneError(
                "no token for the hub; log in with `hf auth login`, or set HF_TOKEN"
            ) from error
        # The client's errors have no common base class, and it lets errors of its HTTP library through.
        except Exception as error:
            raise HfpruneError(
                f"{repo}: the upload failed ({type(error).__name__}: {brief(error)[:300]}); "
                "no file there was changed"
            ) from error
        for name, size in files.items():
            print(f"{size:>15,}  {name}")
        what = "would be sent" if self.dry_run else "sent"
        print(f"push: {len(files)} files, {sum(files.values()):,} bytes, {what} to {repo}")
