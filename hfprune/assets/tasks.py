"""Tasks: the documents that lm-eval reads, one Arrow file per split, with the columns of its stock YAML.

A file is named after its split or, in a folder with several tasks or splits, after both: `TASK.SPLIT.arrow`.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from hfprune.assets.catalogue import TaskAsset
from hfprune.assets.formats import Facts, read_jsonl, read_table, require_rows, write_arrow
from hfprune.assets.olmes import hub_rows
from hfprune.assets.stock import examples_split, members, scored_split, stock_yaml
from hfprune.errors import REASON, HfpruneError, explained


def write_task(name: str, asset: TaskAsset, files: list[Path], folder: Path) -> Facts:
    """Write the scored split, and the split of the examples if the source has it, for a task or a group's tasks.

    Raises:
        HfpruneError: lm-eval has no such task, or the number of rows differs from the entry.
    """
    if asset.format not in ("datasets", "lm-eval"):
        split, table = scored_split(name), _read(name, asset.format, files)
        require_rows(f"task {name!r}", asset.rows, table.num_rows)
        write_arrow(folder / f"{split}.arrow", table)
        return {"split": split, "rows": table.num_rows}
    rows = 0
    for task, config in members(name).items():
        if isinstance(config["task"], list):  # a group
            continue
        scored = scored_split(task)
        for split in {*filter(None, [scored, examples_split(config)])}:
            table = _saved(task, config, split, files) if files else _loaded(task, split)
            write_arrow(folder / f"{task}.{split}.arrow", table)
            rows += table.num_rows * (split == scored)
    require_rows(f"task {name!r}", asset.rows, rows)
    return {"rows": rows}


def task_files(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the Arrow files of a fetched task, or of each task of a group, by split.

    Raises:
        HfpruneError: the folder holds no fetched task.
    """
    if not (folder / "asset.json").is_file():
        raise HfpruneError(f"{folder}: not a fetched task; get it with `hfprune fetch tasks/{folder.name}`")
    by_task: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.glob("*.arrow")):
        task, _, split = file.stem.rpartition(".")
        by_task.setdefault(task or folder.name, {})[split] = file
    if not by_task:
        raise HfpruneError(
            f"{folder}: has no documents; get it again with `hfprune fetch tasks/{folder.name}`"
        )
    return by_task


def _saved(task: str, config: Mapping[str, Any], split: str, files: list[Path]) -> pa.Table:
    """Return a split of a task from folders CONFIG/SPLIT of saved datasets."""
    place = f"{config.get('dataset_name')}/{split}"
    data = [file for file in _tables(files, "arrow") if file.parent.as_posix().endswith(f"/{place}")]
    if not data:
        raise HfpruneError(
            f"task {task!r}: its source holds no {place}/*.arrow; correct it in config/assets.yaml"
        )
    return pa.concat_tables([read_table(file) for file in data])


def _loaded(task: str, split: str) -> pa.Table:
    """Return a split of a task as lm-eval itself loads it.

    Raises:
        HfpruneError: lm-eval cannot load it, for example without a network.
    """
    text = (
        f"task {task!r}: lm-eval cannot load its documents ({REASON}); connect to a network that reaches the "
        "hub, or say in config/assets.yaml where they are"
    )
    with explained(text, Exception, most=200):  # whatever a task's libraries raise
        table = _as_stock(task).dataset[split].with_format("arrow")[:]
    return table.replace_schema_metadata(None)


@cache
def _as_stock(task: str) -> Any:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=stock_yaml(task).parent, include_defaults=False)
    return manager.load([task])["tasks"][task]


def _tables(files: list[Path], format: str) -> list[Path]:
    """Return the files of a format, except the caches of transforms in saved datasets."""
    return [file for file in files if file.suffix == f".{format}" and not file.name.startswith("cache-")]


def _read(name: str, format: str, files: list[Path]) -> pa.Table:
    if format in ("arrow", "parquet"):
        data = _tables(files, format)
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
