"""External baselines: the contract that each is held to, and one that is our own."""
