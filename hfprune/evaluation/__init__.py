"""Measurements on a model: zero-shot benchmarks, fidelity to the dense model, perplexity, latency."""
