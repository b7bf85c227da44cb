"""What a study or a `prune` costs before it runs: operations, time and memory of every job."""
