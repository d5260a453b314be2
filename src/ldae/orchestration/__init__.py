"""Orchestration: job resources and usage, display of a run, reruns, training records."""
