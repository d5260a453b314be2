"""Metrics of images, volumes and classification, and the bootstrap of their intervals."""
