"""Preflight checks before a long run: data, space, environment, cluster, cost.

Each module checks one topic and returns all its findings, good and bad
(:class:`ldae.preflight.report.Finding`). None stops at the first fault, none changes the results.
"""
