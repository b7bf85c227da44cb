"""Scoring: criteria declare what they need; `score` reads the calibration blocks for all of them."""
