"""Tasks: the documents that lm-eval scores, as one Arrow file with the columns of its stock YAML."""

from pathlib import Path

import pyarrow as pa

from hfprune.assets.catalogue import TaskAsset
from hfprune.assets.formats import Facts, read_jsonl, read_table, require_rows, write_arrow
from hfprune.assets.olmes import hub_rows
from hfprune.assets.stock import scored_split
from hfprune.errors import HfpruneError
from hfprune.files import read_json


def write_task(name: str, asset: TaskAsset, files: list[Path], folder: Path) -> Facts:
    """Write the split of a task that lm-eval scores to `<split>.arrow`.

    Raises:
        HfpruneError: lm-eval has no such task, or there is another number of rows than the entry says.
    """
    split, table = scored_split(name), _read(name, asset.format, files)
    require_rows(f"task {name!r}", asset.rows, table.num_rows)
    write_arrow(folder / f"{split}.arrow", table)
    return {"split": split, "rows": table.num_rows}


def task_file(folder: Path) -> tuple[str, Path]:
    """Return the split's name and the Arrow file of a fetched task.

    Raises:
        HfpruneError: the folder holds no fetched task.
    """
    if not (folder / "asset.json").is_file():
        raise HfpruneError(f"{folder}: not a fetched task; get it with `hfprune fetch tasks/{folder.name}`")
    split = read_json(folder / "asset.json")["split"]
    file = folder / f"{split}.arrow"
    if not file.is_file():
        raise HfpruneError(f"{file}: is missing; get it again with `hfprune fetch tasks/{folder.name}`")
    return split, file


def _read(name: str, format: str, files: list[Path]) -> pa.Table:
    if format in ("arrow", "parquet"):
        # A saved dataset's folder may also hold the results of cached transforms, in `cache-….arrow`.
        data = [file for file in files if file.suffix == f".{format}" and not file.name.startswith("cache-")]
        if not data:
            raise HfpruneError(f"task {name!r}: its source holds no .{format} file")
        return pa.concat_tables([read_table(file) for file in data])
    rows = [record for file in files for record in read_jsonl(file)]
    if format == "olmes":
        rows = hub_rows(name, rows)
    elif name == "race":
        # lm-eval reads the questions from a Python literal; JSON holds a list.
        rows = [{key: str(row[key]) if key == "problems" else row[key] for key in row} for row in rows]
    return pa.Table.from_struct_array(pa.array(rows))
