"""Exports: pruned models as folders that other programs load."""
