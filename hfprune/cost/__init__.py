"""The predicted cost of a study or a `prune`: operations, time and memory of every job."""
