"""Devices: which exist, which are leased, and how fast they are."""
