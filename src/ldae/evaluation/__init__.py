"""Evaluation: one module per experiment, and one for its tables."""
