"""How an asset may be spelt besides by its name in the catalogue: a folder, a file, or a name on the hub."""

import re
from pathlib import Path
from typing import NamedTuple

from hfprune.assets.stock_names import is_stock

# OWNER/NAME, with a revision and a file in the repository, if any.
_HUB = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w.-]+))?(/(?P<file>\w.*))?", re.ASCII)


class Form(NamedTuple):
    """How assets of a kind may be spelt besides by their names: folders, files and names on the hub."""

    word: str
    marker: str
    """File by which a folder is known as such an asset."""
    formats: dict[str, str]
    """The catalogue's format of a file, by its suffix."""
    hub: str = ""
    """Spelling of a name on the hub; empty if the hub has none of this kind."""
    stock: str = ""
    """Phrase for names of lm-eval, if they are accepted."""

    def ways(self) -> str:
        """Return the spellings as a phrase, for help and messages."""
        *others, last = [*self.formats] or [""]
        files = f"{', '.join(others)} or {last}" if others else last
        ways = [
            f"a folder with {self.marker}",
            files and f"a {files} file",
            self.hub and f"{self.hub} on the hub",
            self.stock,
        ]
        *others, last = filter(None, ways)
        return f"{', '.join(others)} or {last}" if others else last


FORMS = {
    "models": Form("model", "config.json", {".gguf": "gguf"}, "OWNER/NAME[@REVISION][/FILE.gguf]"),
    "corpora": Form(
        "text",
        "corpus.arrow",
        dict.fromkeys((".txt", ".txt.gz"), "lines")
        | dict.fromkeys((".jsonl", ".jsonl.gz", ".json.gz"), "jsonl")
        | {".parquet": "parquet"},
        "OWNER/NAME/FILE",
    ),
    "tasks": Form("task", "asset.json", {}, stock="a task of lm-eval"),
    "instructions": Form(
        "set of instructions",
        "instructions.arrow",
        {".jsonl": "jsonl", ".parquet": "parquet"},
        "OWNER/NAME/FILE",
    ),
    "requests": Form("set of requests", "requests.arrow", {}),
}


def entry(kind: str, spelling: str) -> dict[str, object] | None:
    """Return the catalogue's entry for a folder, a file, a name on the hub or of lm-eval; `None` for another word.

    Suffixes decide the format. A hub id without revision means the branch `main`.
    """
    if kind == "tasks":
        return {"source": {"provider": "lm-eval"}, "format": "lm-eval"} if is_stock(spelling) else None
    form, path = FORMS[kind], Path(spelling).expanduser()
    formats = [name for suffix, name in form.formats.items() if spelling.endswith(suffix)]
    local = {"provider": "local", "path": str(path.absolute())}
    if path.is_file():
        return {"source": local, "format": formats[0]} if formats else None
    if kind == "models" and (path / form.marker).is_file():
        return {"source": local}
    match = _HUB.fullmatch(spelling)
    # A path such as `my/model.gguf` with a typing error is no repository.
    if not match or not form.hub or (formats and not match["file"]):
        return None
    hub = {"provider": "hub", "repo": match["repo"], "revision": match["revision"] or "main"}
    if match["file"]:
        return {"source": hub | {"files": [match["file"]]}, "format": formats[0]} if formats else None
    return {"source": hub} if kind == "models" else None
