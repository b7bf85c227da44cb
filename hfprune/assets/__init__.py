"""Assets: models, corpora, tasks, instruction pairs and requests; fetched once, pinned and hashed."""
