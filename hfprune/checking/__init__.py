"""`hfprune check`: the tables of a run beside those of another run of the same study, and beside each other."""
