"""What a study costs before it runs: operations, traffic, memory, disk and time of every job, without torch."""
