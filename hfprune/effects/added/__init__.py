"""Effects that a study asks for by the names of these files: see `hfprune.study.added_effects`."""
