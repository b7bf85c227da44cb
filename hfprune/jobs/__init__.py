"""The jobs of a study: one list, from which the workflow, the cost model and the fetch read."""
