"""Helpers of the tests: small stores, models, results, cohorts, and copies of the project."""
