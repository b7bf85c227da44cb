"""Comparisons of the cells of a study: effects, and verdicts on the claims of the paper."""
