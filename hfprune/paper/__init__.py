"""The paper's own numbers, claims and defects."""
