"""Comparisons with the known truth of a synthetic cohort: probes, oracle, counterfactuals."""
