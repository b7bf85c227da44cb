"""What a folder of results holds: how it is gathered, written and read, and what its numbers mean."""
