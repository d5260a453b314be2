"""Figures, drawn from tables and arrays alone; the same inputs give the same bytes."""
