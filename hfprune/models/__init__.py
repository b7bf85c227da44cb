"""Dense and pruned models: loading, prunable units, the head."""
