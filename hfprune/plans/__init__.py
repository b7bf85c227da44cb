"""Plans: the units that a pruned model keeps, from scores and a budget."""
