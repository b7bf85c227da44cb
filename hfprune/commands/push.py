"""Upload an export to the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from hfprune.settings import Strict
from hfprune.stages.fields import Positional

EXAMPLE = "hfprune push pruned --repo me/smollm2-135m-instruct-q4-pruned --dry-run"


class Config(Strict):
    """Flags of `hfprune push`."""

    folder: Annotated[Path, Positional("DIR")] = Field(description="folder that `hfprune export` wrote")
    repo: str = Field(description="repository, owner/name; made if it does not exist")
    private: bool = Field(default=False, description="make a new repository private")
    dry_run: bool = Field(default=False, description="check the folder, and only print what would be sent")


def run(config: Config) -> None:
    """Check and upload the folder, and print each file with its size."""
    from hfprune.exports.push import push

    files = push(config.folder, config.repo, private=config.private, dry_run=config.dry_run)
    for name, size in files.items():
        print(f"{size:>15,}  {name}")
    what = "would be sent" if config.dry_run else "sent"
    print(f"push: {len(files)} files, {sum(files.values()):,} bytes, {what} to {config.repo}")
