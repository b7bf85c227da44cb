"""Benchmark harness and replication suite for HFPrune (arXiv 2603.08083)."""

from importlib.metadata import version

__version__ = version("hfprune")
