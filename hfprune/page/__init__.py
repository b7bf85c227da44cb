"""The pages: of studies, and of one pruned model."""
