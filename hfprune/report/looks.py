"""The looks of a study's methods."""

from functools import cache

from hfprune.report.style import Look, looks
from hfprune.results.reader import Results


@cache
def looks_of(data: Results) -> dict[str, Look]:
    """Return the look of every method in a study's results, the overlaps or the published scores."""
    tables = (data.whole["method"], data.overlap["method_a"], data.overlap["method_b"])
    methods = {method for column in tables for method in column}
    return looks({*methods, *data.published["method"]}, data.labels)
