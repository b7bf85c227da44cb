"""A measure of another package, which no table of the paper has: perplexity of a stream, compared by ratios."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint

from hfprune.measurement import MEASURES, CorpusMeasure, Metric, Outcome
from hfprune.measures.perplexity import PERPLEXITY


class Stream(CorpusMeasure):
    """Perplexity."""

    def metrics(self) -> list[Metric]:
        return [PERPLEXITY]

    def run(self, subject: object) -> Outcome:
        raise NotImplementedError


@contextmanager
def installed() -> Iterator[None]:
    """Let studies name it `stream`."""
    MEASURES.sources()["stream"] = [EntryPoint("stream", "report.streams:Stream", MEASURES.package)]
    yield
    del MEASURES.sources()["stream"]
    MEASURES.load.cache_clear()
