"""Measurements on a dense or pruned model: zero-shot benchmarks, fidelity to the dense model, perplexity."""
