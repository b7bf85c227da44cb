"""Instruction pairs for recovery, as Arrow: columns `instruction`, `input` and `output`, or `messages` alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hfprune.assets.catalogue import InstructionsAsset
from hfprune.assets.formats import Facts, read_jsonl, read_table, write_arrow
from hfprune.errors import KIND, REASON, HfpruneError, explained

SCHEMA = pa.schema({"instruction": pa.string(), "input": pa.string(), "output": pa.string()})
CHATS = pa.schema({"messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))})
COQA_INSTRUCTION = "Read the passage. Ask questions about it and answer them."


def write_instructions(name: str, asset: InstructionsAsset, files: list[Path], folder: Path) -> Facts:
    """Write pairs or chats to `instructions.arrow`; those without an answer teach nothing and are left out.

    Raises:
        HfpruneError: a file cannot be read, lacks a column, or no pairs are left.
    """
    tables = [_read(name, asset.format, file) for file in files]
    with explained(f"instructions {name!r}: give files of chats or of pairs, not both", pa.ArrowInvalid):
        pairs = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    if "output" in pairs.column_names:
        pairs = pairs.filter(pc.not_equal(pc.utf8_trim_whitespace(pairs["output"]), ""))
    if not pairs.num_rows:
        raise HfpruneError(f"instructions {name!r}: no pair has an output; correct it in config/assets.yaml")
    write_arrow(folder / "instructions.arrow", pairs)
    return {"pairs": pairs.num_rows}


def _read(name: str, format: str, file: Path) -> pa.Table:
    if format == "coqa":
        return pa.Table.from_pylist(_coqa_pairs(name, read_jsonl(file)), SCHEMA)
    text = f"instructions {name!r}: {file}: a column is not text: {REASON}"
    kinds = pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError
    with explained(text, *kinds):
        # Not `from_pylist`, which takes its columns from the first record alone.
        table = read_table(file) if format == "parquet" else _table(read_jsonl(file))
        if "messages" in table.column_names:
            return _chats(name, file, table["messages"].to_pylist())
    output = "output" if "output" in table.column_names else "response"
    lacks = [column for column in ("instruction", output) if column not in table.column_names]
    if lacks:
        raise HfpruneError(
            f"instructions {name!r}: {file} has no column {lacks[0]!r}, only {', '.join(table.column_names)}"
        )
    nothing = pa.nulls(table.num_rows, pa.string())
    extra = table["input"] if "input" in table.column_names else nothing
    columns = [table["instruction"], extra, table[output]]
    with explained(text, *kinds):
        return pa.table([pc.fill_null(column.cast(pa.string()), "") for column in columns], schema=SCHEMA)


def _chats(name: str, file: Path, chats: list[Any]) -> pa.Table:
    """Return conversations that have an answer, with the role and the content of each message."""
    text = f"instructions {name!r}: {file}: a message is no role and content as text: {REASON}"
    with explained(text, KeyError, TypeError, pa.ArrowInvalid):  # pyarrow's type errors included
        read = [[{"role": x["role"], "content": x["content"] or ""} for x in chat or ()] for chat in chats]
        answered = [chat for chat in read if any(x["role"] == "assistant" and x["content"] for x in chat)]
        return pa.table([pa.array(answered, CHATS.field(0).type)], schema=CHATS)


def _table(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_struct_array(pa.array(records)) if records else SCHEMA.empty_table()


def _coqa_pairs(name: str, records: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Make one pair from each passage, with all its questions and answers as the output.

    A dump has one record per question, whose id is the conversation's id and `_turn<n>`. A pair for each
    question would repeat the passage for an answer of two or three tokens.
    """
    passages: dict[str, str] = {}
    turns: dict[str, list[str]] = {}
    text = f"instructions {name!r}: the source is no dump of CoQA: {KIND}({REASON})"
    with explained(text, KeyError, IndexError, TypeError, AttributeError):
        for record in records:
            document = record["doc"]
            conversation = document["id"].rpartition("_turn")[0]
            passages[conversation] = document["story"]
            turn = f"Question: {document['question']}\nAnswer: {document['choices'][0]}"
            turns.setdefault(conversation, []).append(turn)
    return [
        {"instruction": COQA_INSTRUCTION, "input": passages[key], "output": "\n\n".join(questions)}
        for key, questions in turns.items()
    ]
