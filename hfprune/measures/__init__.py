"""Measures: one file each, found by being here; their contract is `hfprune.measurement`."""
