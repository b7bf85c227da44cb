"""The tables that a study publishes, one file each."""
