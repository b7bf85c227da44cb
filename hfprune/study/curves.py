"""The methods of a study that read samples of several sizes, under the name that they have in common."""

from collections.abc import Collection, Mapping

from hfprune.calibration.sizes import sized
from hfprune.study.method import Method


def curves(methods: Mapping[str, Method], sizes: Collection[int]) -> dict[str, dict[int, str]]:
    """Return the names of methods that read samples of sizes by their size, by the name without it."""
    found: dict[str, dict[int, str]] = {}
    for name, method in methods.items():
        size = method.sequences
        if size and size in sizes and name.endswith(sized("", size)):
            found.setdefault(name.removesuffix(sized("", size)), {})[size] = name
    return {base: dict(sorted(of_size.items())) for base, of_size in found.items()}
