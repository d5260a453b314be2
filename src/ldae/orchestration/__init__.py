"""Orchestration: job resources and usage, reruns, previous runs, training records."""
