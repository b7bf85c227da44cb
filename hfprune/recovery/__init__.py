"""Recovery: training after pruning."""
