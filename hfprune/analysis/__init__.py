"""From result files to the tables of a study, and from these alone to claims and comparisons."""
