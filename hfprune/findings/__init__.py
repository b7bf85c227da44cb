"""The page of findings: text that a person wrote, whose numbers are rows of the studies' tables."""
