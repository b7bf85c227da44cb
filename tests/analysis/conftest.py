"""Synthetic studies for the tests of this folder."""

from synthetic import collected, study

__all__ = ["collected", "study"]
