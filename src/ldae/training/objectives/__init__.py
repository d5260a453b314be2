"""Objectives, one per training: networks, loss and validation."""
