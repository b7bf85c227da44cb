"""The page of findings: text that a person wrote, whose numbers are rows of the studies' tables.

A tool of this repository, beside its texts and in no wheel: `python -m findings --out docs/findings.md`.
"""
