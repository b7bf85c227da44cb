"""Devices: which are there, which is leased, how fast each is."""
