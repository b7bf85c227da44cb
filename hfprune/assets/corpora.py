"""Corpora: text documents as Arrow with the single column `text`."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from hfprune.assets.catalogue import CorpusAsset, MixedSource
from hfprune.assets.formats import (
    Facts,
    read_fetched,
    read_jsonl,
    read_lines,
    read_table,
    read_text,
    write_arrow,
)
from hfprune.assets.mixing import mixed
from hfprune.errors import KIND, REASON, HfpruneError, explained

# More than half the pages of a raw Wikipedia extract are bare titles, from which a model learns nothing.
WIKI_STUB = 50


def write_corpus(name: str, asset: CorpusAsset, files: list[Path], folder: Path) -> Facts:
    """Write the distinct, non-empty documents to `corpus.arrow`; the entry's `documents` is a slice of these.

    The files of a mixture are the `corpus.arrow` files of its parts, in their order.
    """
    if isinstance(asset.source, MixedSource):
        source, texts = asset.source, [*map(_parquet_texts, files)]
        documents = mixed(texts, [part.share for part in source.parts.values()], source.characters)
    else:
        documents = [document for file in files for document in _reader(asset)(file)]
    # Without repeats: a repeated document would leak from one slice into another, such as a measure's corpus.
    documents = [*dict.fromkeys(document for document in documents if document.strip())]
    chosen = documents[slice(*asset.documents)] if asset.documents else documents
    if not chosen:
        part = f"documents {list(asset.documents)} of {len(documents)} in " if asset.documents else ""
        raise HfpruneError(f"corpus {name!r}: no text in {part}{', '.join(map(str, files))}; give another")
    write_arrow(folder / "corpus.arrow", pa.table({"text": pa.array(chosen, pa.string())}))
    return {"documents": len(chosen)}


def _reader(asset: CorpusAsset) -> Callable[[Path], list[str]]:
    return {
        "lines": read_lines,
        "snippets": _snippets,
        "plain": _plain_texts,
        "wiki": _wiki_pages,
        "jsonl": _jsonl_texts,
        "parquet": _parquet_texts,
        "wikitext": _wikitext_pages,
        "problems": _solved_problems,
    }[asset.format]


def read_corpus(folder: Path) -> list[str]:
    """Return the documents of a fetched corpus, in order.

    Raises:
        HfpruneError: the folder holds no fetched corpus.
    """
    return read_fetched("corpora", folder)["text"].to_pylist()


def _snippets(path: Path) -> list[str]:
    return [snippet.strip("\n") for snippet in re.split(r"\n(?:[ \t]*\n){2,}", read_text(path))]


def _plain_texts(path: Path) -> list[str]:
    return [text.strip("\n") for text in read_text(path).split("<|endoftext|>")]


def _wiki_pages(path: Path) -> list[str]:
    """Return the pages between `<doc …>` and `</doc>` lines, without stubs."""
    pages = re.findall(r"^<doc [^\n]*>\n(.*?)^</doc>", read_text(path), re.DOTALL | re.MULTILINE)
    return [page.strip() for page in pages if len(page.strip()) > WIKI_STUB]


def _wikitext_pages(path: Path) -> list[str]:
    """Return the pages of WikiText, as in `wikitext_document_level`, from a parquet file of its lines."""
    pages: list[list[str]] = []
    for row in read_table(path)["text"].to_pylist():
        line = row.removesuffix("\n") or " "
        if re.fullmatch(r" = [^=]+ = ", line):
            pages.append([])
        if pages:
            pages[-1].append(line)
    return ["\n".join(page) for page in pages]


def _jsonl_texts(path: Path) -> list[str]:
    records = read_jsonl(path)
    if not all(isinstance(record.get("text"), str) for record in records):
        raise HfpruneError(f"{path}: a record has no string field 'text'")
    return [record["text"] for record in records]


def _solved_problems(path: Path) -> list[str]:
    """Return problems of MATH, each with its solution, without the examples that a prompt puts before it."""
    with explained(f"{path}: no request dump of MATH: {KIND}({REASON})", KeyError, TypeError):
        problems = [record["doc"] for record in read_jsonl(path)]
        return [f"{problem['query']} {problem['solution']}" for problem in problems]


def _parquet_texts(path: Path) -> list[str]:
    table = read_table(path)
    if "text" not in table.column_names:
        raise HfpruneError(f"{path}: has no column 'text', only {', '.join(table.column_names)}")
    texts = [text for text in table["text"].to_pylist() if text is not None]
    if strange := [text for text in texts if not isinstance(text, str)]:
        raise HfpruneError(f"{path}: the column 'text' holds {strange[0]!r}, which is no text")
    return texts
